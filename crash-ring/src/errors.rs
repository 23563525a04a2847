//! Calls to the file system that fail: the first, the second, the third ..., once or from then on.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use sync_core::{OpQuery, PendingOp, Result};

use crate::{
    check,
    disk::Disk,
    dump,
    faults::{FaultKind, FaultPlan},
    power::block_on,
    story::{self, Step},
    world::{Device, OpenStore, Subject, Titles, World},
};

/// What failing calls did.
#[derive(Clone, Debug, Default)]
#[must_use = "a summary that nobody looks at proves nothing"]
pub struct Summary {
    /// Stories that were told with a failing call, by its kind and whether it went on failing.
    pub runs: BTreeMap<(FaultKind, bool), usize>,
    /// How many of them had a step that failed and told so.
    pub told: usize,
    /// How many had something wrong at the end.
    pub violated: usize,
    /// A few of them, in words.
    pub examples: Vec<String>,
}

impl Summary {
    /// All stories with a failing call.
    pub fn points(&self) -> usize {
        self.runs.values().sum()
    }

    fn merge(&mut self, other: Summary) {
        for (key, count) in other.runs {
            *self.runs.entry(key).or_default() += count;
        }
        self.told += other.told;
        self.violated += other.violated;
        self.examples.extend(other.examples);
        self.examples.truncate(MAX_EXAMPLES);
    }
}

const MAX_EXAMPLES: usize = 8;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} stories with a failing call, {} with a step that told of it; {} VIOLATED",
            self.points(),
            self.told,
            self.violated
        )?;
        for ((kind, sticky), count) in &self.runs {
            let how = if *sticky { "from then on" } else { "once" };
            writeln!(f, "  {kind:?} {how}: {count}")?;
        }
        for example in &self.examples {
            writeln!(f, "  for example: {example}")?;
        }
        Ok(())
    }
}

/// Tells the short story with each call failing; `every` leaves out all but one call in so many.
///
/// # Errors
/// If the story fails without a failing call.
pub fn sweep(subject: Subject, every: u64, threads: usize, progress: &(dyn Fn() + Sync)) -> Result<Summary> {
    let mut summary = Summary::default();
    for kind in FaultKind::ALL {
        let calls = block_on(Telling::tell(subject, FaultPlan::counting(kind)))?.calls;
        for sticky in [false, true] {
            let next = AtomicU64::new(1);
            let work = || {
                let mut summary = Summary::default();
                loop {
                    let at = next.fetch_add(every, Ordering::Relaxed);
                    if at > calls {
                        return summary;
                    }
                    let told = block_on(Telling::tell(subject, FaultPlan::failing(kind, at, sticky)));
                    summary.merge(judge(told, kind, at, sticky));
                    progress();
                }
            };
            let parts = thread::scope(|scope| {
                let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
                workers
                    .into_iter()
                    .map(|worker| worker.join().expect("a worker panicked"))
                    .collect::<Vec<_>>()
            });
            for part in parts {
                summary.merge(part);
            }
        }
    }
    Ok(summary)
}

fn judge(told: Result<Told>, kind: FaultKind, at: u64, sticky: bool) -> Summary {
    let mut summary = Summary::default();
    *summary.runs.entry((kind, sticky)).or_default() += 1;
    let (failed, wrong) = match told {
        Ok(told) => (told.failed, told.wrong),
        Err(error) => (true, vec![format!("does not recover: {error}")]),
    };
    summary.told += usize::from(failed);
    if !wrong.is_empty() {
        summary.violated += 1;
        let how = if sticky { "from then on" } else { "once" };
        summary
            .examples
            .push(format!("{kind:?} at call {at}, {how}: {}", wrong.join("; ")));
    }
    summary
}

/// What became of one story.
struct Told {
    /// The calls that could have failed.
    calls: u64,
    /// Whether a step failed.
    failed: bool,
    wrong: Vec<String>,
}

/// A story that is told on a failing disk.
struct Telling {
    subject: Subject,
    disk: Disk,
    world: World,
    failed: bool,
    wrong: Vec<String>,
}

/// How often a step is tried before the disk is mended.
const TRIES_BEFORE_MENDING: u32 = 2;

impl Telling {
    /// Tells the short story; `plan` says which calls fail.
    async fn tell(subject: Subject, plan: FaultPlan) -> Result<Told> {
        let disk = Disk::default();
        disk.set_faults(plan);
        let telling = Self {
            subject,
            disk,
            world: World::new(),
            failed: false,
            wrong: Vec::new(),
        };
        telling.tell_all().await
    }

    async fn tell_all(mut self) -> Result<Told> {
        let mut device = self.start().await?;
        for step in story::short() {
            self.step(&mut device, &step).await?;
        }
        let (calls, _) = self.disk.fault_count();
        self.disk.set_faults(FaultPlan::default());
        let end = device.converge(&self.world).await?;
        self.wrong.extend(end);
        if device.titles().await? != expected() {
            self.wrong
                .push(format!("it ends with {:?}", device.titles().await?));
        }
        device.close().await?;
        self.look_at_the_file().await?;
        Ok(Told {
            calls,
            failed: self.failed,
            wrong: self.wrong,
        })
    }

    async fn start(&mut self) -> Result<Device> {
        for _ in 0..TRIES_BEFORE_MENDING {
            match Device::start(&self.disk, self.subject, &self.world, None).await {
                Ok(device) => return Ok(device),
                Err(_) => self.failed = true,
            }
        }
        self.disk.set_faults(FaultPlan::default());
        Device::start(&self.disk, self.subject, &self.world, None).await
    }

    async fn step(&mut self, device: &mut Device, step: &Step) -> Result<()> {
        let before = self.look(device).await?;
        for _ in 0..TRIES_BEFORE_MENDING {
            let Err(error) = device.take(step, &self.world).await else {
                return Ok(());
            };
            self.failed = true;
            // A restart that fails leaves nothing open to look at.
            if matches!(step, Step::Restart) {
                continue;
            }
            let after = self.look(device).await?;
            if matches!(step, Step::Write(_)) && after != before {
                self.wrong.push(format!(
                    "{step:?} failed with {error}, and yet changed {before:?} to {after:?}"
                ));
            }
            self.disk.suspend_faults(true);
            let broken = check::invariants(&*device.opened.store).await?;
            self.disk.suspend_faults(false);
            self.wrong.extend(broken);
        }
        self.disk.set_faults(FaultPlan::default());
        device.take(step, &self.world).await
    }

    /// What the user sees, and what waits to be sent.
    async fn look(&self, device: &Device) -> Result<(Titles, Vec<PendingOp>)> {
        self.disk.suspend_faults(true);
        let titles = device.titles().await;
        let ops = device.engine().pending_ops(&OpQuery::default()).await;
        self.disk.suspend_faults(false);
        Ok((titles?, ops?))
    }

    async fn look_at_the_file(&mut self) -> Result<()> {
        let opened = OpenStore::open(&self.disk, Subject::Full).await?;
        let (_, sound) = dump::read(&self.disk).await?;
        if sound != "ok" {
            self.wrong.push(sound);
        }
        self.wrong.extend(check::invariants(&*opened.store).await?);
        opened.close().await
    }
}

/// What the short story ends with.
fn expected() -> Titles {
    [
        ("a", "a two"),
        ("c", "c two"),
        ("t1", "theirs 1, newer"),
        ("t2", "theirs 2"),
    ]
    .into_iter()
    .map(|(id, title)| (id.to_owned(), title.to_owned()))
    .collect()
}

//! Crashes at every write: the end of the process, and the loss of power.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use sync_core::{Result, Timestamp};

use crate::{
    check,
    disk::{Disk, Event},
    dump::{self, Dump},
    recorder::{Commit, Recorder},
    replay::{Damage, Image, Replay},
    story::{self, Step, is_contested},
    world::{Change, Device, Moment, OpenStore, Subject, World},
};

/// What a crash broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// The file does not open, or SQLite finds it unsound.
    Corrupt,
    /// The tables hold what no commit left: a transaction is there in part.
    Half,
    /// A commit that was acknowledged is gone.
    Lost,
    /// Records, queue, clock and sync point do not belong together.
    Inconsistent,
    /// The next synchronizations do not bring both sides together.
    Divergent,
}

/// What a sweep found.
#[derive(Clone, Debug, Default)]
#[must_use = "a summary that nobody looks at proves nothing"]
pub struct Summary {
    /// Writes, syncs and other changes of the disk that the story made.
    pub events: usize,
    /// Transactions of the store in the story.
    pub commits: usize,
    /// Crashes that were played, by kind.
    pub crashes: BTreeMap<Damage, usize>,
    /// How many of them were synchronized to the end.
    pub converged: usize,
    /// What they broke, by kind of crash.
    pub violations: BTreeMap<(Damage, Violation), usize>,
    /// Acknowledged commits that were gone although nothing was promised about them.
    pub unpromised_losses: BTreeMap<Damage, usize>,
    /// A few of the violations, in words.
    pub examples: Vec<String>,
}

impl Summary {
    /// All crashes.
    pub fn points(&self) -> usize {
        self.crashes.values().sum()
    }

    /// All violations.
    pub fn violated(&self) -> usize {
        self.violations.values().sum()
    }

    /// The violations of one kind, over all kinds of crashes.
    pub fn violated_by(&self, violation: Violation) -> usize {
        let of_kind = self.violations.iter().filter(|((_, kind), _)| *kind == violation);
        of_kind.map(|(_, count)| count).sum()
    }

    /// The sum of two summaries of the same story.
    fn merge(&mut self, other: Summary) {
        self.converged += other.converged;
        for (damage, count) in other.crashes {
            *self.crashes.entry(damage).or_default() += count;
        }
        for (key, count) in other.violations {
            *self.violations.entry(key).or_default() += count;
        }
        for (damage, count) in other.unpromised_losses {
            *self.unpromised_losses.entry(damage).or_default() += count;
        }
        self.examples.extend(other.examples);
        self.examples.truncate(MAX_EXAMPLES);
    }
}

const MAX_EXAMPLES: usize = 8;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} disk events, {} transactions; {} crash points, {} synchronized afterwards",
            self.events,
            self.commits,
            self.points(),
            self.converged
        )?;
        for (damage, count) in &self.crashes {
            let lost = self.unpromised_losses.get(damage).copied().unwrap_or(0);
            writeln!(
                f,
                "  {damage:?}: {count} points, {lost} lose commits that were not promised"
            )?;
            for ((_, violation), count) in self.violations.iter().filter(|((of, _), _)| of == damage) {
                writeln!(f, "    VIOLATED {violation:?}: {count}")?;
            }
        }
        for example in &self.examples {
            writeln!(f, "  for example: {example}")?;
        }
        Ok(())
    }
}

/// How much of the sweep is done.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// One crash point in so many is played, chosen by the seed; 1 = all.
    pub every: usize,
    /// Whether each point is synchronized to its end; otherwise, each different state is.
    pub converge_each: bool,
    /// How many threads share the work.
    pub threads: usize,
    /// The seed of prefixes and torn sectors.
    pub seed: u64,
}

/// A value that the user gave a record.
#[derive(Clone, Debug)]
struct Mark {
    change: Change,
    begun: usize,
    acknowledged: usize,
}

/// A story that was told, with everything needed to judge a crash in it.
#[derive(Debug)]
struct Recording {
    subject: Subject,
    log: Vec<Event>,
    commits: Vec<Commit>,
    /// What the tables held before the first commit.
    start: Arc<Dump>,
    last_remote: Moment,
    marks: Vec<Mark>,
    end: Timestamp,
}

/// Tells the long story once, and crashes it everywhere.
///
/// # Errors
/// If the story fails without any crash.
pub fn sweep(subject: Subject, extent: Extent, progress: &(dyn Fn() + Sync)) -> Result<Summary> {
    let recording = block_on(record(subject, &story::long()))?;
    let next = AtomicUsize::new(0);
    let mut summary = Summary {
        events: recording.log.len(),
        commits: recording.commits.len(),
        ..Summary::default()
    };
    let parts = thread::scope(|scope| {
        let workers: Vec<_> = (0..extent.threads.max(1))
            .map(|_| scope.spawn(|| block_on(work(&recording, extent, &next, progress))))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker panicked"))
            .collect::<Vec<_>>()
    });
    for part in parts {
        summary.merge(part);
    }
    Ok(summary)
}

/// How many points a sweep has that plays each of them.
///
/// # Errors
/// If the story fails without any crash.
pub fn count_points(subject: Subject) -> Result<usize> {
    let recording = block_on(record(subject, &story::long()))?;
    let outcomes: usize = Damage::ALL.iter().map(|damage| damage.outcomes()).sum();
    Ok((recording.log.len() + 1) * outcomes)
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(future)
}

async fn record(subject: Subject, steps: &[Step]) -> Result<Recording> {
    let disk = Disk::default();
    let world = World::new();
    disk.start_log();
    let recorder = Recorder::new(&disk, &world);
    let mut device = Device::start(&disk, subject, &world, Some(recorder.clone())).await?;
    let (start, _) = dump::read(&disk).await?;
    let mut marks = Vec::new();
    for step in steps {
        let begun = disk.position();
        device.take(step, &world).await?;
        if let Step::Write(changes) = step {
            marks.extend(changes.iter().map(|change| Mark {
                change: change.clone(),
                begun,
                acknowledged: disk.position(),
            }));
        }
    }
    device.close().await?;
    Ok(Recording {
        subject,
        log: disk.take_log(),
        commits: recorder.take(),
        start: Arc::new(start),
        last_remote: world.moment(),
        marks,
        end: sync_core::Clock::now(&world.time.clock),
    })
}

async fn work(
    recording: &Recording,
    extent: Extent,
    next: &AtomicUsize,
    progress: &(dyn Fn() + Sync),
) -> Summary {
    let mut summary = Summary::default();
    let mut seen = BTreeSet::new();
    let mut replay = Replay::default();
    let mut played = 0;
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at > recording.log.len() {
            return summary;
        }
        for event in &recording.log[played..at] {
            replay.play(event);
        }
        played = at;
        let outcomes = Damage::ALL
            .into_iter()
            .flat_map(|damage| std::iter::repeat_n(damage, damage.outcomes()));
        for (number, damage) in outcomes.enumerate() {
            let mut random = SmallRng::seed_from_u64(extent.seed ^ ((at as u64) << 8 | number as u64));
            // By chance, so that any share has all kinds of damage at all kinds of places.
            if random.random_range(0..extent.every) > 0 {
                continue;
            }
            let image = replay.crash(damage, &mut random);
            let point = Point {
                recording,
                at,
                damage,
                converge_each: extent.converge_each,
            };
            point.play(image, &mut seen, &mut summary).await;
            progress();
        }
    }
}

/// States and moments that were synchronized to the end already: the commit, and the place of the remote's moment.
type Seen = BTreeSet<(usize, usize)>;

struct Point<'a> {
    recording: &'a Recording,
    at: usize,
    damage: Damage,
    converge_each: bool,
}

impl Point<'_> {
    async fn play(&self, image: Image, seen: &mut Seen, summary: &mut Summary) {
        *summary.crashes.entry(self.damage).or_default() += 1;
        if let Err((violation, why)) = self.judge(image, seen, summary).await {
            *summary.violations.entry((self.damage, violation)).or_default() += 1;
            if summary.examples.len() < MAX_EXAMPLES {
                let (at, damage) = (self.at, self.damage);
                summary
                    .examples
                    .push(format!("{violation:?} after event {at} ({damage:?}): {why}"));
            }
        }
    }

    /// How many commits were acknowledged.
    fn acknowledged(&self) -> usize {
        self.recording
            .commits
            .partition_point(|commit| commit.end <= self.at)
    }

    fn is_promised(&self) -> bool {
        self.damage == Damage::Kill || self.recording.subject.survives_power_loss()
    }

    async fn judge(
        &self,
        image: Image,
        seen: &mut Seen,
        summary: &mut Summary,
    ) -> std::result::Result<(), (Violation, String)> {
        let disk = Disk::holding(image);
        let corrupt = |error: sync_core::SyncError| (Violation::Corrupt, error.to_string());
        let opened = OpenStore::open(&disk, self.recording.subject)
            .await
            .map_err(corrupt)?;
        let found = dump::read(&disk).await;
        let judged = match found {
            Err(error) => Err(corrupt(error)),
            Ok((_, sound)) if sound != "ok" => Err((Violation::Corrupt, sound)),
            Ok((found, _)) => match self.find_state(&found, summary) {
                Ok(state) => self.judge_state(&disk, &opened, state, seen, summary).await,
                Err(violation) => Err(violation),
            },
        };
        // What was found is judged already; a store that cannot close says nothing new.
        let _ = opened.close().await;
        judged
    }

    fn dump_of(&self, state: usize) -> &Dump {
        match state.checked_sub(1) {
            None => &self.recording.start,
            Some(last) => &self.recording.commits[last].dump,
        }
    }

    /// After how many commits the tables were like this.
    fn find_state(
        &self,
        found: &Dump,
        summary: &mut Summary,
    ) -> std::result::Result<usize, (Violation, String)> {
        let acknowledged = self.acknowledged();
        // One more may be there: its acknowledgement was on the way.
        let latest = (acknowledged + 1).min(self.recording.commits.len());
        let state = (0..=latest).rev().find(|state| self.dump_of(*state) == found);
        match state {
            Some(state) if state >= acknowledged || self.dump_of(acknowledged) == found => Ok(state),
            Some(state) if !self.is_promised() => {
                *summary.unpromised_losses.entry(self.damage).or_default() += 1;
                Ok(state)
            }
            Some(state) => {
                let lost = dump::difference(self.dump_of(acknowledged), found);
                Err((
                    Violation::Lost,
                    format!("{} commits: {lost}", acknowledged - state),
                ))
            }
            None => Err((
                Violation::Half,
                dump::difference(self.dump_of(acknowledged), found),
            )),
        }
    }

    async fn judge_state(
        &self,
        disk: &Disk,
        opened: &OpenStore,
        state: usize,
        seen: &mut Seen,
        summary: &mut Summary,
    ) -> std::result::Result<(), (Violation, String)> {
        let wrong = check::invariants(&*opened.store).await;
        let wrong = wrong.unwrap_or_else(|error| vec![error.to_string()]);
        if !wrong.is_empty() {
            return Err((Violation::Inconsistent, wrong.join("; ")));
        }
        // The remote as it was when the next commit began: whatever it did before was answered, or is under way.
        let next = self.acknowledged();
        let moment = self.recording.commits.get(next).map(|commit| &commit.remote);
        let moment = moment.unwrap_or(&self.recording.last_remote);
        if !seen.insert((state, next)) && !self.converge_each {
            return Ok(());
        }
        summary.converged += 1;
        let wrong = self.converge(disk, opened, moment).await;
        let wrong = wrong.unwrap_or_else(|error| vec![error.to_string()]);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err((Violation::Divergent, wrong.join("; ")))
        }
    }

    async fn converge(&self, disk: &Disk, opened: &OpenStore, moment: &Moment) -> Result<Vec<String>> {
        let world = World::at(moment, self.recording.end);
        let device = Device::over(disk, self.recording.subject, &world, opened.clone(), None).await?;
        let mut wrong = device.converge(&world).await?;
        device.engine().stop();
        if self.is_promised() {
            let titles = world.titles();
            for (id, allowed) in self.allowed() {
                let found = titles.get(id);
                if !allowed.contains(&found) {
                    wrong.push(format!("{id} is {found:?} at the end, not one of {allowed:?}"));
                }
            }
        }
        Ok(wrong)
    }

    /// What the records that only the user writes may be at the end: the last acknowledged value, or a later one.
    fn allowed(&self) -> BTreeMap<&str, Vec<Option<&String>>> {
        let mut allowed = BTreeMap::new();
        for mark in &self.recording.marks {
            if is_contested(mark.change.id) || mark.begun >= self.at {
                continue;
            }
            let values: &mut Vec<_> = allowed.entry(mark.change.id).or_insert_with(|| vec![None]);
            if mark.acknowledged <= self.at {
                values.clear();
            }
            values.push(mark.change.title.as_ref());
        }
        allowed
    }
}

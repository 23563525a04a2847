//! Processes on a real file, alone or side by side, that are killed at random moments.

use std::{
    collections::BTreeMap,
    fmt,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::{
    CachePolicy, EngineOptions, ErrorKind, LocalStore, Result, SimpleSyncOrchestrator, SyncEngine,
};

use crate::{
    check,
    power::block_on,
    shared_remote::SharedRemote,
    world::{Subject, Titles, Todo, internal, scope, target, todo},
};

/// What killed processes left.
#[derive(Clone, Debug, Default)]
#[must_use = "a summary that nobody looks at proves nothing"]
pub struct Summary {
    /// Rounds that ended with a kill.
    pub rounds: usize,
    /// Writes that were acknowledged before.
    pub acknowledged: usize,
    /// Writes that were begun and not acknowledged when the process was killed.
    pub unknown: usize,
    /// How often both sides were brought together and compared.
    pub converged: usize,
    /// Operations that reached the remote.
    pub pushed: usize,
    /// What was wrong.
    pub violations: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rounds killed, {} writes acknowledged, {} with an unknown outcome, {} operations at the remote, {} \
             times synchronized and compared; {} VIOLATED",
            self.rounds,
            self.acknowledged,
            self.unknown,
            self.pushed,
            self.converged,
            self.violations.len()
        )?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}

/// What is killed, and how often.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The program to start with [`VICTIM`] and the arguments for [`victim`].
    pub program: &'a Path,
    /// How often.
    pub rounds: usize,
    /// How many processes work on the file at the same time.
    pub processes: usize,
    /// The store; one that keeps what it promises.
    pub subject: Subject,
    /// The seed of the moments.
    pub seed: u64,
}

/// The subcommand of the program under which it calls [`victim`].
pub const VICTIM: &str = "victim";

/// Records that each task of a process writes.
const RECORDS: u64 = 4;

/// Tasks of a process that write at the same time.
const WRITERS: usize = 3;

/// How many lines the processes of a round tell at most before they are killed. What they get done does not depend on
/// how fast the machine is.
const MOST_LINES: usize = 16;

/// How long they are left alone at most after that, so that the moment is not always the end of a line.
const LONGEST_REST: Duration = Duration::from_millis(60);

/// Far longer than processes need for their lines: then they are stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every so many rounds, everything is synchronized and compared.
const ROUNDS_BETWEEN_SYNCS: usize = 10;

/// The values that a record may have: the last that was acknowledged, or any that was begun since. `-` = deleted.
type Allowed = BTreeMap<String, Vec<String>>;

const DELETED: &str = "-";

/// Kills processes on one file, and looks at what they left.
///
/// # Errors
/// If a process does not start, or the file cannot be read.
pub fn run(plan: &Plan<'_>, progress: &(dyn Fn() + Sync)) -> Result<Summary> {
    let folder = tempfile::TempDir::new().map_err(internal)?;
    let (store, remote) = (folder.path().join("store.db"), folder.path().join("remote.jsonl"));
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let mut summary = Summary::default();
    let mut allowed = Allowed::new();
    for round in 1..=plan.rounds {
        let victims = (0..plan.processes)
            .map(|number| Victim::start(plan, &store, &remote, &format!("p{number}"), random.random()))
            .collect::<Result<Vec<_>>>()?;
        wait_for_lines(&victims, random.random_range(0..=MOST_LINES))?;
        thread::sleep(LONGEST_REST.mul_f64(random.random()));
        for victim in victims {
            victim.kill(&mut allowed, &mut summary)?;
        }
        summary.rounds += 1;
        let last = round == plan.rounds;
        let sync = last || round % ROUNDS_BETWEEN_SYNCS == 0;
        let wrong = block_on(examine(plan, &store, &remote, &mut allowed, sync, &mut summary));
        let wrong = wrong.unwrap_or_else(|error| vec![error.to_string()]);
        let wrong = wrong.into_iter().map(|wrong| format!("round {round}: {wrong}"));
        summary.violations.extend(wrong);
        progress();
    }
    Ok(summary)
}

/// A process that writes.
struct Victim {
    process: Child,
    /// How many lines it has told.
    told: Arc<AtomicUsize>,
    lines: thread::JoinHandle<Vec<String>>,
}

fn wait_for_lines(victims: &[Victim], lines: usize) -> Result<()> {
    let began = Instant::now();
    let told = |victim: &Victim| victim.told.load(Ordering::Relaxed);
    while victims.iter().map(told).sum::<usize>() < lines {
        if began.elapsed() > PATIENCE {
            return Err(internal("the processes are stuck"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

impl Victim {
    /// Starts the process and waits until it has opened the store.
    fn start(plan: &Plan<'_>, store: &Path, remote: &Path, name: &str, seed: u64) -> Result<Self> {
        let mut process = Command::new(plan.program)
            .arg(VICTIM)
            .args(["--store".as_ref(), store.as_os_str()])
            .args(["--remote".as_ref(), remote.as_os_str()])
            .args(["--name", name, "--seed", &seed.to_string()])
            .args(["--subject", &plan.subject.name()])
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .map_err(internal)?;
        let output = process.stdout.take().ok_or_else(|| internal("no output"))?;
        let mut lines = BufReader::new(output).lines();
        match lines.next() {
            Some(Ok(line)) if line == "ready" => {}
            other => return Err(internal(format!("the process does not start: {other:?}"))),
        }
        // A line that was cut off by the kill was not told.
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        let count = move |_: &String| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let lines = thread::spawn(move || {
            let lines = lines.map_while(std::result::Result::ok);
            lines.inspect(count).collect()
        });
        Ok(Self { process, told, lines })
    }

    fn kill(mut self, allowed: &mut Allowed, summary: &mut Summary) -> Result<()> {
        self.process.kill().map_err(internal)?;
        self.process.wait().map_err(internal)?;
        let lines = self.lines.join().map_err(|_| internal("the reader panicked"))?;
        let mut open = 0;
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["begin", id, value] => {
                    open += 1;
                    let values = allowed
                        .entry(id.to_owned())
                        .or_insert_with(|| vec![DELETED.to_owned()]);
                    values.push(value.to_owned());
                }
                ["ok", id, value] => {
                    open -= 1;
                    summary.acknowledged += 1;
                    allowed.insert(id.to_owned(), vec![value.to_owned()]);
                }
                _ => summary.violations.push(format!("a process says {line:?}")),
            }
        }
        summary.unknown += open;
        Ok(())
    }
}

async fn open(store: &Path, subject: Subject) -> Result<SeaOrmLocalStore> {
    subject.open(OpenOptions::file(store).wal_pages(64)).await
}

async fn orchestrator(
    store: Arc<dyn LocalStore>,
    remote: SharedRemote,
) -> Result<SimpleSyncOrchestrator<Todo>> {
    let options = EngineOptions::default()
        .with_page_size(3)
        .with_commit_rows(2)
        .with_push_batch(3)
        .with_call_deadline(Duration::from_millis(50))
        // The lease of a process that was killed keeps the next one waiting.
        .with_lease_time(Duration::from_millis(100))
        .with_retry(Duration::from_millis(1), Duration::from_millis(20));
    SyncEngine::builder(store, Arc::new(remote))
        .register::<Todo>()
        .options(options)
        .build()
        .await?
        .of()
}

async fn titles(todos: &SimpleSyncOrchestrator<Todo>) -> Result<Titles> {
    let answer = todos.read(&scope(), CachePolicy::OfflineOnly).await?;
    Ok(answer
        .items
        .into_iter()
        .map(|todo| (todo.id, todo.title))
        .collect())
}

async fn examine(
    plan: &Plan<'_>,
    path: &Path,
    remote: &Path,
    allowed: &mut Allowed,
    sync: bool,
    summary: &mut Summary,
) -> Result<Vec<String>> {
    let store = open(path, plan.subject).await?;
    let remote = SharedRemote::open(remote)?;
    let mut wrong = check::invariants(&store).await?;
    let todos = orchestrator(Arc::new(store.clone()), remote.clone()).await?;
    let mut shown = titles(&todos).await?;
    wrong.extend(not_allowed("here", &shown, allowed));
    if sync {
        summary.converged += 1;
        synchronize(&todos).await?;
        shown = titles(&todos).await?;
        let current = remote.current()?;
        let there: Titles = current
            .dump(&target())
            .into_iter()
            .map(|(id, payload)| Ok((id.to_string(), payload.decode::<Todo>()?.title)))
            .collect::<Result<_>>()?;
        if shown != there {
            wrong.push(format!("here {shown:?}, there {there:?}"));
        }
        wrong.extend(not_allowed("there", &there, allowed));
        let ops: BTreeMap<_, _> = current
            .push_log()
            .iter()
            .flat_map(|batch| &batch.ops)
            .map(|op| (op.op_id, current.applied_count(op.op_id)))
            .collect();
        summary.pushed = ops.len();
        let doubled = ops.into_iter().filter(|(_, count)| *count > 1);
        wrong.extend(doubled.map(|(op, count)| format!("{op} took effect {count} times")));
    }
    // What was seen now is what a later look may not be behind of.
    for (id, values) in allowed {
        *values = vec![shown.get(id).cloned().unwrap_or_else(|| DELETED.to_owned())];
    }
    todos.engine().stop();
    store.close().await?;
    Ok(wrong)
}

/// Synchronizes until nothing is left; the killed process's lease runs out meanwhile.
async fn synchronize(todos: &SimpleSyncOrchestrator<Todo>) -> Result<()> {
    for _ in 0..200 {
        match todos.synchronize(&scope()).await {
            Ok(_) if todos.engine().count_ops(None).await?.total() == 0 => return Ok(()),
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) if matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::Timeout) => {}
            Err(error) => return Err(error),
        }
    }
    Err(internal("the queue does not drain"))
}

fn not_allowed(place: &str, titles: &Titles, allowed: &Allowed) -> Vec<String> {
    let value = |id: &String| titles.get(id).map_or(DELETED, String::as_str);
    allowed
        .iter()
        .filter(|(id, values)| !values.iter().any(|allowed| allowed == value(id)))
        .map(|(id, values)| format!("{id} is {:?} {place}, not one of {values:?}", value(id)))
        .collect()
}

/// What a process needs to know that is to be killed.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The file of the store.
    pub store: PathBuf,
    /// The file of the remote.
    pub remote: PathBuf,
    /// How its records are called.
    pub name: String,
    /// The seed of what it writes.
    pub seed: u64,
    /// The store; one that keeps what it promises.
    pub subject: Subject,
}

/// Writes and synchronizes until it is killed, and tells of each write when it begins and when it is acknowledged.
///
/// # Errors
/// Of the store, other than `Busy`.
pub fn victim(orders: &Orders) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(internal)?;
    runtime.block_on(async {
        let store = Arc::new(open(&orders.store, orders.subject).await?);
        let todos = orchestrator(store, SharedRemote::open(&orders.remote)?).await?;
        tell("ready")?;
        let writers = (0..WRITERS).map(|writer| {
            let name = format!("{}w{writer}", orders.name);
            write_on(&todos, name, orders.seed ^ writer as u64)
        });
        let writers = futures::future::try_join_all(writers);
        futures::future::try_join(writers, synchronize_on(&todos))
            .await
            .map(drop)
    })
}

fn tell(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| output.flush())
        .map_err(internal)
}

async fn write_on(todos: &SimpleSyncOrchestrator<Todo>, name: String, seed: u64) -> Result<()> {
    let mut random = SmallRng::seed_from_u64(seed);
    loop {
        let id = format!("{name}r{}", random.random_range(0..RECORDS));
        let there = todos
            .get(&scope(), &id, CachePolicy::OfflineOnly)
            .await?
            .is_some();
        let delete = there && random.random_ratio(1, 5);
        let value = if delete {
            DELETED.to_owned()
        } else {
            format!(
                "{:016x}{}",
                random.random::<u64>(),
                "+".repeat(random.random_range(0..3_000))
            )
        };
        tell(&format!("begin {id} {value}"))?;
        if delete {
            todos.enqueue_delete(&scope(), &id).await?;
        } else if there {
            todos.enqueue_update(&scope(), &todo(&id, &value)).await?;
        } else {
            todos.enqueue_create(&scope(), &todo(&id, &value)).await?;
        }
        tell(&format!("ok {id} {value}"))?;
    }
}

async fn synchronize_on(todos: &SimpleSyncOrchestrator<Todo>) -> Result<()> {
    loop {
        match todos.synchronize(&scope()).await {
            // Another process may hold the lease, or have taken it over from this one.
            Err(error) if !matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::Timeout) => {
                return Err(error);
            }
            _ => tokio::task::yield_now().await,
        }
    }
}

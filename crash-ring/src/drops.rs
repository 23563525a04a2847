//! Every public future of the engine and of the store, dropped at each of its polls.

use std::{
    fmt,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use sync_core::{
    CacheLimits, CachePolicy, ConflictQuery, OpQuery, OpState, Payload, PendingOp, ReadOptions, Result,
    SyncEngine, Write, query::QuerySpec, resolve::Resolution,
};

use crate::{
    check,
    disk::Disk,
    power::block_on,
    replay::Image,
    story::Step,
    world::{ASKS, Change, Device, Moment, OpenStore, POISON, Subject, Todo, World, key, scope, todo},
};

/// What dropped futures did.
#[derive(Clone, Debug, Default)]
#[must_use = "a summary that nobody looks at proves nothing"]
pub struct Summary {
    /// The calls, each with the number of polls after which it was dropped at most.
    pub calls: Vec<(&'static str, usize)>,
    /// How many futures were dropped before their end.
    pub dropped: usize,
    /// What was wrong afterwards.
    pub violations: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, violated) = (self.calls.len(), self.violations.len());
        writeln!(
            f,
            "{} futures of {calls} calls dropped; {violated} VIOLATED",
            self.dropped
        )?;
        for (name, polls) in &self.calls {
            writeln!(f, "  {name}: {polls} polls")?;
        }
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}

/// A call of the engine on a device that has something of everything.
struct Call {
    name: &'static str,
    start: for<'a> fn(&'a Ready) -> BoxFuture<'a, Result<()>>,
}

macro_rules! calls {
    ($($name:literal => |$ready:ident| $call:expr;)*) => {
        vec![$(Call {
            name: $name,
            start: |$ready| async move { $call.await.map(drop) }.boxed(),
        }),*]
    };
}

fn calls() -> Vec<Call> {
    calls! {
        "enqueue_create" => |on| on.device.todos.enqueue_create(&scope(), &todo("new", "new"));
        "enqueue_update" => |on| on.device.todos.enqueue_update(&scope(), &todo("a", "a three"));
        "enqueue_delete" => |on| on.delete("a");
        "update_where" => |on| on.device.todos.update_where(&scope(), Todo::done().eq(false), |todo| todo.done = true);
        "delete_where" => |on| on.device.todos.delete_where(&scope(), Todo::done().eq(false));
        "write" => |on| on.engine().write(on.rename("d", "d two"));
        "write_batch" => |on| on.engine().write_batch(vec![on.rename("a", "a three"), on.rename("t1", "mine")]);
        "synchronize" => |on| on.device.todos.synchronize(&scope());
        "push_only" => |on| on.device.todos.push_only(&scope());
        "pull_only" => |on| on.device.todos.pull_only(&scope());
        "full_resync" => |on| on.device.todos.full_resync(&scope());
        "sweep" => |on| on.sweep();
        "read, offline only" => |on| on.read(CachePolicy::OfflineOnly);
        "read, local first" => |on| on.read(CachePolicy::LocalFirst);
        "read, remote first" => |on| on.read(CachePolicy::RemoteFirst);
        "read, online only" => |on| on.read(CachePolicy::OnlineOnly);
        "read_with, evaluated by the remote" => |on| on.search();
        "get" => |on| on.get();
        "first" => |on| on.first();
        "count" => |on| on.device.todos.count(&scope(), None, CachePolicy::RemoteFirst);
        "watch" => |on| on.watch();
        "explain" => |on| on.explain();
        "refresh_status" => |on| on.engine().refresh_status();
        "pending_ops" => |on| on.pending_ops();
        "count_ops" => |on| on.engine().count_ops(None);
        "export_ops" => |on| on.engine().export_ops(None);
        "import_ops" => |on| on.engine().import_ops(&on.exported);
        "retry_op" => |on| on.engine().retry_op(on.parked.op_id);
        "edit_op" => |on| on.edit();
        "discard_op" => |on| on.engine().discard_op(on.parked.op_id);
        "conflicts" => |on| on.conflicts();
        "resolve_conflict" => |on| on.engine().resolve_conflict(on.conflict, Resolution::KeepLocal);
        "quarantine" => |on| on.engine().quarantine(None, 10);
        "approx_cache_size" => |on| on.engine().approx_cache_size(None);
        "cache_limits" => |on| on.engine().cache_limits();
        "set_cache_limits" => |on| on.limit();
        "enforce_cache_limits" => |on| on.engine().enforce_cache_limits();
        "clear" => |on| on.engine().clear(&scope(), true);
        "build an engine" => |on| on.build();
        "open the store" => |on| OpenStore::open(&on.device.disk, on.subject());
        "close the store" => |on| on.close_and_open();
    }
}

/// A device with synchronized, pending, refused, disputed and malformed records, and with news at the remote.
struct Ready {
    device: Device,
    world: World,
    parked: PendingOp,
    conflict: uuid::Uuid,
    exported: String,
}

impl Ready {
    fn engine(&self) -> &SyncEngine {
        self.device.engine()
    }

    fn subject(&self) -> Subject {
        self.device.subject
    }

    fn rename(&self, id: &str, title: &str) -> Write {
        Write::update(&scope(), &todo(id, title)).expect("the record is valid")
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let deleted = self.device.todos.enqueue_delete(&scope(), &id.to_owned()).await;
        deleted.map(drop)
    }

    async fn sweep(&self) -> Result<()> {
        self.engine().sweep(&scope()).await.map(drop)
    }

    async fn read(&self, policy: CachePolicy) -> Result<()> {
        self.device.todos.read(&scope(), policy).await.map(drop)
    }

    async fn search(&self) -> Result<()> {
        let options = ReadOptions::from(CachePolicy::RemoteFirst).with_remote_eval();
        let spec = QuerySpec::new().filter(Todo::done().eq(false));
        self.device
            .todos
            .read_with(&scope(), &spec, options)
            .await
            .map(drop)
    }

    async fn get(&self) -> Result<()> {
        let (scope, id) = (scope(), "a".to_owned());
        let found = self.device.todos.get(&scope, &id, CachePolicy::RemoteFirst);
        found.await.map(drop)
    }

    async fn first(&self) -> Result<()> {
        let (scope, all) = (scope(), QuerySpec::new());
        let found = self.device.todos.first(&scope, &all, CachePolicy::RemoteFirst);
        found.await.map(drop)
    }

    async fn watch(&self) -> Result<()> {
        let mut answers = self.device.todos.watch(&scope(), &QuerySpec::new());
        answers.next().await.transpose().map(drop)
    }

    async fn explain(&self) -> Result<()> {
        self.engine().explain(&key("c")).await.map(drop)
    }

    async fn pending_ops(&self) -> Result<()> {
        self.engine().pending_ops(&OpQuery::default()).await.map(drop)
    }

    async fn edit(&self) -> Result<()> {
        let good = Payload::encode(&todo("p", "good again"))?;
        self.engine().edit_op(self.parked.op_id, good).await.map(drop)
    }

    async fn conflicts(&self) -> Result<()> {
        self.engine().conflicts(&ConflictQuery::default()).await.map(drop)
    }

    async fn limit(&self) -> Result<()> {
        let limits = CacheLimits::default().with_max_bytes(0);
        self.engine().set_cache_limits(&limits).await.map(drop)
    }

    async fn build(&self) -> Result<()> {
        let opened = self.device.opened.clone();
        Device::over(&self.device.disk, self.subject(), &self.world, opened, None)
            .await
            .map(drop)
    }

    /// The store is needed afterwards, so one of two handles on the file is closed.
    async fn close_and_open(&self) -> Result<()> {
        OpenStore::open(&self.device.disk, self.subject())
            .await?
            .close()
            .await
    }
}

/// Ends a future after so many polls.
struct Polled<F> {
    future: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The device before the call, as its file and its remote.
struct Prepared {
    subject: Subject,
    image: Image,
    moment: Moment,
    end: sync_core::Timestamp,
}

/// Drops each call at every poll, or at one poll in `every`.
///
/// # Errors
/// If the device cannot be prepared.
pub fn sweep(
    subject: Subject,
    every: usize,
    threads: usize,
    progress: &(dyn Fn() + Sync),
) -> Result<Summary> {
    let prepared = block_on(prepare(subject))?;
    let calls = calls();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut summary = Summary::default();
        while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
            block_on(drop_everywhere(call, &prepared, every, &mut summary));
            progress();
        }
        summary
    };
    let parts: Vec<Summary> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker panicked"))
            .collect()
    });
    let mut summary = Summary::default();
    for part in parts {
        summary.calls.extend(part.calls);
        summary.dropped += part.dropped;
        summary.violations.extend(part.violations);
    }
    Ok(summary)
}

async fn prepare(subject: Subject) -> Result<Prepared> {
    let disk = Disk::default();
    let world = World::new();
    let mut device = Device::start(&disk, subject, &world, None).await?;
    let change = |id, title: &str| Change {
        id,
        title: Some(title.to_owned()),
    };
    let write = |id, title: &str| Step::Write(vec![change(id, title)]);
    let theirs = |id, title: &str| Step::Theirs(change(id, title));
    let steps = [
        theirs("t1", "theirs 1"),
        theirs("t2", "theirs 2"),
        Step::Malformed,
        write("a", "a one"),
        write("b", "b one"),
        write("c", "c one"),
        Step::Sync,
        theirs("c", "theirs on c"),
        write("c", ASKS),
        write("p", POISON),
        Step::Sync,
        write("a", "a two"),
        Step::Write(vec![change("d", "d one"), Change { id: "b", title: None }]),
        theirs("t1", "theirs 1, newer"),
        theirs("t3", "theirs 3"),
        Step::Malformed,
        Step::Theirs(Change {
            id: "t2",
            title: None,
        }),
    ];
    for step in &steps {
        device.take(step, &world).await?;
    }
    device.close().await?;
    Ok(Prepared {
        subject,
        image: disk.image(),
        moment: world.moment(),
        end: sync_core::Clock::now(&world.time.clock),
    })
}

async fn ready(prepared: &Prepared) -> Result<Ready> {
    let disk = Disk::holding(prepared.image.clone());
    let world = World::at(&prepared.moment, prepared.end);
    let device = Device::start(&disk, prepared.subject, &world, None).await?;
    let ops = device.engine().pending_ops(&OpQuery::default()).await?;
    let parked = ops.iter().find(|op| matches!(op.state, OpState::Parked(_)));
    let parked = parked.expect("the poison was refused").clone();
    let open = ConflictQuery {
        open: Some(true),
        ..ConflictQuery::default()
    };
    let conflicts = device.engine().conflicts(&open).await?;
    Ok(Ready {
        conflict: conflicts.first().expect("the conflict waits").conflict_id,
        exported: device.engine().export_ops(None).await?,
        device,
        world,
        parked,
    })
}

/// How long a call and everything after it may take. Far more than it needs: it only ends what would never end.
const PATIENCE: Duration = Duration::from_secs(60);

/// More polls than any call here takes.
const MOST_POLLS: usize = 2_000;

async fn drop_everywhere(call: &Call, prepared: &Prepared, every: usize, summary: &mut Summary) {
    for polls in (0..MOST_POLLS).step_by(every.max(1)) {
        let mut wrong = Vec::new();
        let ended = match tokio::time::timeout(PATIENCE, drop_at(call, prepared, polls)).await {
            Ok(Ok((ended, found))) => {
                wrong.extend(found);
                ended
            }
            Ok(Err(error)) => {
                wrong.push(format!("does not go on: {error}"));
                false
            }
            Err(_) => {
                wrong.push("the store or the engine hangs".to_owned());
                false
            }
        };
        summary.dropped += usize::from(!ended);
        if ended || !wrong.is_empty() {
            let found = wrong.into_iter();
            let found = found.map(|wrong| format!("{} after {polls} polls: {wrong}", call.name));
            summary.violations.extend(found);
            summary.calls.push((call.name, polls));
            return;
        }
    }
    summary.violations.push(format!("{} does not end", call.name));
}

/// Returns whether the call came to its end, and what is wrong afterwards.
async fn drop_at(call: &Call, prepared: &Prepared, polls: usize) -> Result<(bool, Vec<String>)> {
    let ready = ready(prepared).await?;
    let future = Box::pin((call.start)(&ready));
    let ended = Polled { future, left: polls }.await;
    if let Some(outcome) = &ended {
        outcome.as_ref().map_err(Clone::clone)?;
    }
    let Ready { device, world, .. } = &ready;
    let mut wrong = check::invariants(&*device.opened.store).await?;
    // Far less time passes than a lease that were left behind would last.
    let before = sync_core::Clock::now(&world.time.clock);
    as_time_passes(world, device.engine().synchronize(&scope())).await?;
    let waited = sync_core::Clock::now(&world.time.clock).since(before);
    if waited > Duration::from_secs(20) {
        wrong.push(format!("the next synchronization waits {waited:?}"));
    }
    wrong.extend(check::invariants(&*device.opened.store).await?);
    let end = as_time_passes(world, async {
        decide_all(device).await?;
        device.converge(world).await
    });
    wrong.extend(end.await?);
    device.close().await?;
    Ok((ended.is_some(), wrong))
}

/// Runs a future while virtual time passes, as a wait for somebody else's lease needs.
async fn as_time_passes<T>(world: &World, future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut future = Box::pin(future);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = tokio::time::sleep(Duration::from_millis(2)) => world.time.clock.advance(Duration::from_millis(100)),
        }
    }
}

/// The user decides what waits for a decision.
async fn decide_all(device: &Device) -> Result<()> {
    let engine = device.engine();
    let open = ConflictQuery {
        open: Some(true),
        ..ConflictQuery::default()
    };
    for conflict in engine.conflicts(&open).await? {
        engine
            .resolve_conflict(conflict.conflict_id, Resolution::KeepLocal)
            .await?;
    }
    for op in engine.pending_ops(&OpQuery::default()).await? {
        if matches!(op.state, OpState::Parked(_)) {
            engine.discard_op(op.op_id).await?;
        }
    }
    Ok(())
}

//! What users, apps and others do in the steps of a plan.

use std::{sync::Arc, time::Duration};

use sync_core::{
    CachePolicy, ErrorKind, Freshness, LocalStore, ReadOptions, RecordKey, Result, SyncError, Target,
    query::{Filter, OrderBy, QuerySpec, evaluate},
};

use super::{
    app::App,
    coverage::Branch,
    plan::{Act, How, ReadFrom},
    shared::Shared,
    world::{Ended, World},
};

/// How long a call may take that waits for a synchronization to end: two leases and a call.
const PATIENCE: Duration = Duration::from_secs(300);

impl World<'_> {
    /// Carries out one step.
    pub(crate) fn act(&mut self, act: &Act) -> Result<()> {
        match *act {
            Act::Put {
                device,
                place,
                fields,
                beside,
            } => self.put(device, place, fields, beside),
            Act::Delete { device, place } => self.delete(device, place),
            Act::Batch { device, scope, id } => self.batch(device, scope, id),
            Act::Sync { device, scope, how } => self.sync(device, scope, how),
            Act::Read {
                device,
                scope,
                from,
                query,
            } => self.read(device, scope, from, query),
            Act::Retry { device } => {
                self.retry(device);
                Ok(())
            }
            Act::Discard { device, nth } => {
                self.discard(device, nth);
                Ok(())
            }
            Act::Resolve { device, keep } => {
                self.resolve(device, keep);
                Ok(())
            }
            Act::Clear {
                device,
                scope,
                discard,
            } => self.clear(device, scope, discard),
            Act::Evict { device } => self.evict(device),
            Act::Reimport { device, scope } => self.reimport(device, scope),
            Act::Restart { device } => self.restart(device),
            Act::ForeignPut { place } => self.foreign(place, true),
            Act::ForeignDelete { place } => self.foreign(place, false),
            Act::Wait { millis } => self.pass(Duration::from_millis(millis)),
            Act::Fault {
                kind,
                device,
                place,
                amount,
            } => self.fault(kind, device, place, amount),
            Act::End { kind, device, place } => self.end(kind, device, place),
        }
    }

    fn sync(&mut self, device: usize, scope: usize, how: How) -> Result<()> {
        let (app, owner) = self.app(device);
        let scope = self.names.scope(scope).clone();
        self.forget_pauses(device);
        if self.devices[device].drop_after.is_some() {
            self.alone(device, async move { app.synchronize(&scope, how).await });
            return Ok(());
        }
        let is_alone = self.devices[device].processes.len() == 1;
        let (shared, targets) = (Arc::clone(&self.shared), self.names.targets());
        let syncing = async move {
            // What it did is judged by its commits.
            if let Err(error) = app.synchronize(&scope, how).await {
                let targets = targets.iter().filter(|target| target.scope == scope);
                judge_failure(&shared, device, is_alone, targets, &error);
            }
        };
        self.executor.spawn(owner, Box::pin(syncing));
        Ok(())
    }

    /// The user asks for a sync, now or after the one under way, whatever pause the remote asked for.
    fn forget_pauses(&mut self, device: usize) {
        let mut weather = self.shared.weather();
        weather.devices[device].pauses.clear();
        weather.devices[device].asked_by_user = true;
    }

    fn read(&mut self, device: usize, scope: usize, from: ReadFrom, query: u8) -> Result<()> {
        let target = self.names.target(scope, false);
        let (app, owner) = self.app(device);
        let spec = spec_of(query);
        let policy = match from {
            ReadFrom::Store => return self.read_stored(device, app, scope, &spec),
            ReadFrom::StoreFirst => CachePolicy::LocalFirst,
            ReadFrom::RemoteFirst => CachePolicy::RemoteFirst,
            ReadFrom::Remote => CachePolicy::OnlineOnly,
        };
        self.forget_pauses(device);
        let mut options = ReadOptions::from(policy);
        if from == ReadFrom::Remote {
            options = options.with_remote_eval();
        }
        let shared = Arc::clone(&self.shared);
        let reading = async move {
            let answers = shared.weather().devices[device].answers;
            match app.query(&target, &spec, &options).await {
                Ok(answer) => {
                    if answer.freshness.is_stale() {
                        shared.seen(Branch::StaleAnswer);
                    }
                    if policy == CachePolicy::OnlineOnly && !matches!(answer.freshness, Freshness::Fresh) {
                        shared.violation(|| {
                            format!(
                                "device {device}: an answer that is to be online is {:?}",
                                answer.freshness
                            )
                        });
                    }
                    let asked = shared.weather().devices[device].answers > answers;
                    if policy == CachePolicy::OnlineOnly && !asked {
                        shared.violation(|| {
                            format!("device {device}: an answer that is to be online was asked of nobody")
                        });
                    }
                }
                Err(error) if policy == CachePolicy::OnlineOnly || error.operation().is_some() => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Busy | ErrorKind::Stopped | ErrorKind::Full
                    ) => {}
                Err(error) => {
                    shared.violation(|| format!("device {device}: a read under {policy:?} failed: {error:?}"))
                }
            }
        };
        self.executor.spawn(owner, Box::pin(reading));
        Ok(())
    }

    /// What a read tells is what the store has, in the order asked for, and says what it is worth.
    fn read_stored(
        &mut self,
        device: usize,
        app: Arc<dyn App>,
        scope: usize,
        spec: &QuerySpec,
    ) -> Result<()> {
        let target = self.names.target(scope, false);
        let (spec_asked, asked) = (spec.clone(), target.clone());
        let options = ReadOptions::from(CachePolicy::OfflineOnly);
        let reading = async move { app.query(&asked, &spec_asked, &options).await };
        let answer = match self.alone(device, reading) {
            Ended::Unknown => return Ok(()),
            Ended::Answered(Err(error)) => {
                if error.kind() != ErrorKind::Busy {
                    self.shared
                        .violation(|| format!("device {device}: reading failed: {error:?}"));
                }
                return Ok(());
            }
            Ended::Answered(Ok(answer)) => answer,
        };
        let store = &self.shared.stores[device];
        let everything = QuerySpec::new();
        let all = self
            .executor
            .alone(store.query(&target, &everything))
            .unwrap_or_else(nothing)?;
        let state = self
            .executor
            .alone(store.load_target(&target))
            .unwrap_or_else(nothing)?;
        let rows = all
            .iter()
            .map(|record| (record.id.clone(), record.payload.clone()));
        let expected = evaluate(spec, rows)?;
        let told: Vec<_> = answer
            .records
            .iter()
            .map(|record| (record.id.clone(), record.payload.clone()))
            .collect();
        if self.devices[device].schema_version == 1 && told != expected {
            self.shared
                .violation(|| format!("device {device}: {spec:?} tells {told:?}, not {expected:?}"));
        }
        for record in &answer.records {
            let key = RecordKey::new(target.clone(), record.id.clone());
            if record.pending != self.stored(device, &key).is_pending() {
                self.shared
                    .violation(|| format!("device {device}: a read tells wrongly whether {key} is pending"));
            }
        }
        if answer.state.incomplete != state.incomplete || answer.state.as_of != state.as_of {
            self.shared
                .violation(|| format!("device {device}: a read tells {:?}, not {state:?}", answer.state));
        }
        Ok(())
    }

    /// The user sends everything that was set aside again.
    pub(crate) fn retry(&mut self, device: usize) {
        let (app, _) = self.app(device);
        self.alone(device, async move { app.retry().await });
    }

    /// The user gives up what is pending of one record. What was given up is answered.
    pub(crate) fn discard(&mut self, device: usize, nth: usize) {
        let (app, _) = self.app(device);
        self.shared.ledger().discarding.insert(device);
        let discarding = async move { app.discard(nth).await };
        if let Ended::Answered(Ok(Some((op, answered)))) = self.alone(device, discarding)
            && !answered.iter().any(|given_up| given_up.op_id == op.op_id)
        {
            self.shared
                .violation(|| format!("device {device}: {op:?} was given up, and is not in the answer"));
        }
        self.shared.ledger().discarding.remove(&device);
    }

    /// The user decides the conflict that was found last.
    pub(crate) fn resolve(&mut self, device: usize, keep: bool) {
        let (app, _) = self.app(device);
        self.shared.ledger().discarding.insert(device);
        self.alone(device, async move { app.resolve(keep).await });
        self.shared.ledger().discarding.remove(&device);
    }

    fn clear(&mut self, device: usize, scope: usize, discard: bool) -> Result<()> {
        let (app, owner) = self.app(device);
        self.devices[device].drop_after = None;
        if discard {
            self.shared.ledger().discarding.insert(device);
        }
        self.shared.ledger().giving_up.insert(device);
        let scope = self.names.scope(scope).clone();
        let clearing = async move { app.clear(&scope, discard).await };
        let cleared = self.until(owner, PATIENCE, clearing)?;
        if matches!(cleared, Ended::Answered(_)) {
            self.shared.ledger().giving_up.remove(&device);
        }
        match cleared {
            Ended::Answered(Ok(_)) => self.shared.seen(Branch::ScopeCleared),
            Ended::Answered(Err(error)) if error.kind() == ErrorKind::PendingOps => {
                self.shared.seen(Branch::ClearRefused);
            }
            Ended::Answered(Err(_)) | Ended::Unknown => {}
        }
        self.shared.ledger().discarding.remove(&device);
        Ok(())
    }

    fn evict(&mut self, device: usize) -> Result<()> {
        let (app, owner) = self.app(device);
        self.devices[device].drop_after = None;
        let evicting = async move { app.evict().await };
        self.shared.ledger().giving_up.insert(device);
        let ended = self.until(owner, PATIENCE, evicting)?;
        if matches!(ended, Ended::Answered(_)) {
            self.shared.ledger().giving_up.remove(&device);
        }
        if let Ended::Answered(Ok(evicted)) = ended
            && evicted > 0
        {
            self.shared.seen(Branch::Evicted);
        }
        Ok(())
    }

    /// The app ends in good order and starts again.
    fn restart(&mut self, device: usize) -> Result<()> {
        let owners: Vec<_> = self.devices[device]
            .processes
            .iter()
            .map(|process| {
                process.app.stop();
                process.owner
            })
            .collect();
        self.pass(Duration::from_millis(20))?;
        for owner in owners {
            self.kill(device, owner);
        }
        self.open(device)
    }
}

/// A refused operation is set aside, and the synchronization goes on; what may no longer be seen is gone.
fn judge_failure<'t>(
    shared: &Shared,
    device: usize,
    is_alone: bool,
    targets: impl Iterator<Item = &'t Target>,
    error: &SyncError,
) {
    if error.kind() == ErrorKind::Invalid {
        shared.violation(|| format!("device {device}: a refusal ended the synchronization: {error:?}"));
    }
    if error.kind() != ErrorKind::ScopeRevoked || !is_alone {
        return;
    }
    let everything = QuerySpec::new();
    for target in targets {
        let rows = shared
            .executor
            .alone(shared.stores[device].query(target, &everything));
        let rows = rows.and_then(Result::ok).unwrap_or_default();
        if let Some(row) = rows.iter().find(|row| !row.pending) {
            shared
                .violation(|| format!("device {device}: {target} may not be seen any more, and {row:?} is"));
        }
    }
}

fn nothing<T>() -> Result<T> {
    Err(SyncError::new(
        ErrorKind::Internal,
        "the memory store waits for something",
    ))
}

fn spec_of(query: u8) -> QuerySpec {
    let spec = QuerySpec::new();
    match query {
        0 => spec.order_by(OrderBy::asc("n")),
        1 => spec.order_by(OrderBy::desc("n")),
        2 => spec.order_by(OrderBy::asc("list")).order_by(OrderBy::desc("x")),
        3 => spec.filter(Filter::is_null("n")),
        4 => spec.filter(Filter::gt("x", 20)).order_by(OrderBy::asc("y")),
        5 => spec.order_by(OrderBy::asc("n")).limit(2).offset(1),
        6 => spec.filter(Filter::eq("list", "l0")),
        _ => spec,
    }
}

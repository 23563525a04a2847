//! What users, apps and others do in the steps of a plan.

use std::time::Duration;

use sync_core::{
    CacheLimits, CachePolicy, ConflictQuery, ErrorKind, Freshness, LocalStore, OpQuery, OpStateKind,
    ReadOptions, RecordKey, Result, SyncEngine, SyncError, SyncScope,
    query::{Filter, OrderBy, QuerySpec, evaluate},
    resolve::Resolution,
};

use super::{
    coverage::Branch,
    plan::{Act, How, ReadFrom},
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
        let (engine, owner) = self.engine(device);
        let scope = self.names.scope(scope).clone();
        self.forget_pauses(device);
        if self.devices[device].drop_after.is_some() {
            self.alone(device, async move { synchronize(&engine, &scope, how).await });
            return Ok(());
        }
        let syncing = async move {
            // What it fails with is in the status; what it did is judged by its commits.
            let _ = synchronize(&engine, &scope, how).await;
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
        let (engine, owner) = self.engine(device);
        let spec = spec_of(query);
        let policy = match from {
            ReadFrom::Store => return self.read_stored(device, &engine, scope, &spec),
            ReadFrom::StoreFirst => CachePolicy::LocalFirst,
            ReadFrom::RemoteFirst => CachePolicy::RemoteFirst,
            ReadFrom::Remote => CachePolicy::OnlineOnly,
        };
        self.forget_pauses(device);
        let mut options = ReadOptions::from(policy);
        if from == ReadFrom::Remote {
            options = options.with_remote_eval();
        }
        let shared = std::sync::Arc::clone(&self.shared);
        let reading = async move {
            match engine.query(&target, &spec, &options).await {
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
        engine: &SyncEngine,
        scope: usize,
        spec: &QuerySpec,
    ) -> Result<()> {
        let target = self.names.target(scope, false);
        let (engine, spec_asked, asked) = (engine.clone(), spec.clone(), target.clone());
        let options = ReadOptions::from(CachePolicy::OfflineOnly);
        let reading = async move { engine.query(&asked, &spec_asked, &options).await };
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
        let (engine, _) = self.engine(device);
        let query = OpQuery {
            states: vec![OpStateKind::Parked],
            ..OpQuery::default()
        };
        self.alone(device, async move {
            for op in engine.pending_ops(&query).await? {
                engine.retry_op(op.op_id).await?;
            }
            Ok::<(), SyncError>(())
        });
    }

    /// The user gives up what is pending of one record. What was given up is answered.
    pub(crate) fn discard(&mut self, device: usize, nth: usize) {
        let (engine, _) = self.engine(device);
        self.shared.ledger().discarding.insert(device);
        let discarding = async move {
            let pending = engine.pending_ops(&OpQuery::default()).await?;
            if pending.is_empty() {
                return Ok(None);
            }
            let op = pending[nth % pending.len()].clone();
            let answered = engine.discard_op(op.op_id).await?;
            Ok::<_, SyncError>(Some((op, answered)))
        };
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
        let (engine, _) = self.engine(device);
        let query = ConflictQuery {
            open: Some(true),
            ..ConflictQuery::default()
        };
        self.shared.ledger().discarding.insert(device);
        self.alone(device, async move {
            let open = engine.conflicts(&query).await?;
            if let Some(conflict) = open.first() {
                let choice = if keep {
                    Resolution::KeepLocal
                } else {
                    Resolution::TakeRemote
                };
                engine.resolve_conflict(conflict.conflict_id, choice).await?;
            }
            Ok::<(), SyncError>(())
        });
        self.shared.ledger().discarding.remove(&device);
    }

    fn clear(&mut self, device: usize, scope: usize, discard: bool) -> Result<()> {
        let (engine, owner) = self.engine(device);
        self.devices[device].drop_after = None;
        if discard {
            self.shared.ledger().discarding.insert(device);
        }
        self.shared.ledger().giving_up.insert(device);
        let scope = self.names.scope(scope).clone();
        let clearing = async move { engine.clear(&scope, discard).await };
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
        let (engine, owner) = self.engine(device);
        self.devices[device].drop_after = None;
        let evicting = async move {
            let none = CacheLimits::default().with_max_bytes(0);
            let evicted = engine.set_cache_limits(&none).await?;
            engine.set_cache_limits(&CacheLimits::default()).await?;
            Ok::<_, SyncError>(evicted)
        };
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
                process.engine.stop();
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

fn nothing<T>() -> Result<T> {
    Err(SyncError::new(
        ErrorKind::Internal,
        "the memory store waits for something",
    ))
}

pub(crate) async fn synchronize(engine: &SyncEngine, scope: &SyncScope, how: How) -> Result<()> {
    match how {
        How::Both => engine.synchronize(scope).await,
        How::Push => engine.push_only(scope).await,
        How::Pull => engine.pull_only(scope).await,
        How::Full => engine.full_resync(scope).await,
        How::Sweep => engine.sweep(scope).await,
    }
    .map(drop)
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

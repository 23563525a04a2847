//! What users, apps and others do in the steps of a plan.

use std::time::Duration;

use futures::channel::oneshot;
use sync_core::{
    CacheLimits, CachePolicy, ConflictQuery, ErrorKind, Freshness, LocalStore, OpQuery, OpStateKind, Payload,
    ReadOptions, RecordKey, RecordState, Result, SyncEngine, SyncError, SyncScope, Write,
    query::{Filter, OrderBy, QuerySpec, evaluate},
    resolve::Resolution,
};

use super::{
    coverage::Branch,
    plan::{Act, How, Place, ReadFrom},
    records::changed,
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

    fn next_write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    /// The record with some changed fields; an item names a list that is there.
    pub(crate) fn compose(
        &mut self,
        key: &RecordKey,
        view: Option<&Payload>,
        fields: u8,
        device: Option<usize>,
    ) -> Payload {
        let number = self.next_write();
        let list = format!("l{}", number % 2);
        let there = device.is_some_and(|device| {
            let scope = self.names.scopes.iter().position(|scope| scope == key.scope());
            let place = Place {
                scope: scope.unwrap_or(0),
                list: true,
                id: usize::from(number % 2 == 1),
            };
            let is_item = key.target.collection.as_str() == "items";
            is_item
                && self
                    .names
                    .key(place)
                    .is_ok_and(|list| self.stored(device, &list).view.is_some())
        });
        changed(key, view, fields, number, there.then_some(list.as_str()))
    }

    fn put(&mut self, device: usize, place: Place, fields: u8, beside: bool) -> Result<()> {
        let key = self.names.key(place)?;
        let before = self.stored(device, &key);
        let payload = self.compose(&key, before.view.as_ref(), fields, Some(device));
        let write = match &before.view {
            None => Write::create_raw(key.clone(), payload.clone()),
            Some(_) => Write::update_raw(key.clone(), payload.clone()),
        };
        let (engine, owner) = self.engine(device);
        if beside {
            let shared = std::sync::Arc::clone(&self.shared);
            // A change of nothing is the text that was there before.
            let known = shared.ledger().has_written(device, &key, payload.as_str());
            let (gate, opened) = oneshot::channel();
            self.shared.weather().devices[device].gates.push(gate);
            let patience = self.executor.sleep(Duration::from_millis(15));
            let writing = async move {
                // The other side of the gate only ever drops it.
                futures::future::select(opened, Box::pin(patience)).await;
                let written = engine.write(write).await;
                let there = shared.ledger().has_written(device, &key, payload.as_str());
                if written.is_ok() && !there {
                    shared.violation(|| {
                        format!("device {device}: {payload:?} of {key} is acknowledged, and was not written")
                    });
                }
                if written.is_err() && there && !known {
                    shared.violation(|| {
                        format!(
                            "device {device}: {payload:?} of {key} was written, and is answered {written:?}"
                        )
                    });
                }
            };
            self.executor.spawn(owner, Box::pin(writing));
            return Ok(());
        }
        let written = self.alone(device, async move { engine.write(write).await });
        self.judge_write(device, &before, Some(&payload), written);
        Ok(())
    }

    fn delete(&mut self, device: usize, place: Place) -> Result<()> {
        let key = self.names.key(place)?;
        let before = self.stored(device, &key);
        if before.view.is_none() && before.revision == 0 {
            return Ok(());
        }
        let (engine, _) = self.engine(device);
        let write = Write::delete_raw(key);
        let written = self.alone(device, async move { engine.write(write).await });
        self.judge_write(device, &before, None, written);
        Ok(())
    }

    /// A write that was acknowledged is there as it was written; one that failed left nothing behind.
    fn judge_write<T: std::fmt::Debug>(
        &mut self,
        device: usize,
        before: &RecordState,
        payload: Option<&Payload>,
        written: Ended<Result<T>>,
    ) {
        let after = self.stored(device, &before.key);
        match written {
            Ended::Unknown => {}
            Ended::Answered(Ok(_)) => {
                let annuls = payload.is_none() && after.ops.len() < before.ops.len();
                let carried = after.ops.last().is_some_and(|op| op.payload.as_ref() == payload);
                if after.view.as_ref().map(Payload::as_str) != payload.map(Payload::as_str) && !annuls {
                    self.shared.violation(|| {
                        format!("device {device}: {payload:?} is acknowledged, and the store has {after:?}")
                    });
                } else if !carried && !annuls {
                    self.shared.violation(|| {
                        format!("device {device}: no operation carries {payload:?}: {after:?}")
                    });
                }
            }
            Ended::Answered(Err(error)) => {
                self.shared.seen(Branch::WriteFailed);
                if after != *before {
                    self.shared.violation(|| {
                        format!(
                            "device {device}: a write failed with {error}, and left {after:?} of {before:?}"
                        )
                    });
                }
                if !matches!(error.kind(), ErrorKind::Busy | ErrorKind::Full) {
                    self.shared.violation(|| {
                        format!("device {device}: a write of {before:?} was refused: {error:?}")
                    });
                }
            }
        }
    }

    fn batch(&mut self, device: usize, scope: usize, id: usize) -> Result<()> {
        let list = Place {
            scope,
            list: true,
            id,
        };
        let item = |id| Place {
            scope,
            list: false,
            id,
        };
        let mut writes = Vec::new();
        let mut before = Vec::new();
        for place in [list, item(id), item(id + 1)] {
            let key = self.names.key(place)?;
            let state = self.stored(device, &key);
            let number = self.next_write();
            let parent = (!place.list).then(|| format!("l{id}"));
            let payload = changed(&key, state.view.as_ref(), 15, number, parent.as_deref());
            writes.push(match state.view {
                None => Write::create_raw(key, payload.clone()),
                Some(_) => Write::update_raw(key, payload.clone()),
            });
            before.push((state, payload));
        }
        let (engine, _) = self.engine(device);
        let written = self.alone(device, async move { engine.write_batch(writes).await });
        let failed = match written {
            Ended::Unknown => return Ok(()),
            Ended::Answered(Ok(_)) => None,
            Ended::Answered(Err(error)) => Some(error),
        };
        for (state, payload) in before {
            let ended = failed.clone().map_or(Ok(()), Err);
            self.judge_write(device, &state, Some(&payload), Ended::Answered(ended));
        }
        Ok(())
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

    fn reimport(&mut self, device: usize, scope: usize) -> Result<()> {
        let (engine, _) = self.engine(device);
        let scope = self.names.scope(scope).clone();
        let importing = async move {
            let lines = engine.export_ops(Some(&scope)).await?;
            engine.import_ops(&lines).await.map(|imported| (lines, imported))
        };
        if let Ended::Answered(Ok((lines, imported))) = self.alone(device, importing) {
            let exported = lines.lines().count();
            let not_there = |error: &SyncError| error.kind() == ErrorKind::NotFound;
            let upgraded = self.shared.ledger().upgraded;
            let lost = imported
                .left_out
                .iter()
                .find(|(_, error)| !not_there(error) && !upgraded);
            if lost.is_some() || imported.written.len() + imported.left_out.len() != exported {
                self.shared.violation(|| {
                    format!("device {device}: of {exported} lines an import leaves out {lost:?}")
                });
            }
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

    /// Someone else writes.
    pub(crate) fn foreign(&mut self, place: Place, put: bool) -> Result<()> {
        let key = self.names.key(place)?;
        let payload = put.then(|| self.compose(&key, None, u8::MAX, None));
        let number = self.writes;
        let backend = std::sync::Arc::clone(&self.shared.backend);
        let of = key.clone();
        let writing = async move { backend.write(&of, payload, number).await };
        let wrote = self.executor.alone(writing).unwrap_or(false);
        if wrote {
            self.touched_by_others(&key);
        }
        Ok(())
    }

    /// The outcome of a record no longer follows from what users wrote.
    pub(crate) fn touched_by_others(&mut self, key: &RecordKey) {
        let now = self.shared.backend.peek(key);
        let mut ledger = self.shared.ledger();
        ledger.inexact.insert(key.clone());
        if let Some(state) = now {
            ledger.tell(key, &state);
        }
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

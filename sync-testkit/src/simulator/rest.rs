//! The end of a simulation: every fault ends, the devices come to rest by themselves, and all agree.

use std::{collections::BTreeMap, time::Duration};

use sync_core::{
    ConflictQuery, CursorKind, LocalStore, OpQuery, OpStateKind, Payload, RecordId, Result, SyncError,
    SyncScope, Target, query::QuerySpec,
};

use super::{
    coverage::Branch,
    executor::Owner,
    generate::{ITEMS, LISTS},
    plan::{Decider, How, Place},
    watching::Shown,
    world::{Ended, INTERVAL, World},
};

/// After so many rounds in which everybody synchronizes, nothing may be left to do.
const MOST_ROUNDS: usize = 12;

/// From this round on, the user gives up what was set aside, instead of sending it again.
const ROUNDS_OF_HOPE: usize = 3;

/// Longer than every pause and every sweep interval.
const LONG: Duration = Duration::from_secs(1_500);

/// The live records of a target.
pub(crate) type Records = BTreeMap<RecordId, Payload>;

impl World<'_> {
    /// Every place that a plan can name.
    pub(crate) fn all_places(&self) -> Vec<Place> {
        let of_scope = |scope: usize| {
            let lists = (0..LISTS).map(move |id| Place {
                scope,
                list: true,
                id,
            });
            // Batches write an item more.
            let items = (0..=ITEMS).map(move |id| Place {
                scope,
                list: false,
                id,
            });
            lists.chain(items)
        };
        (0..self.names.scopes.len()).flat_map(of_scope).collect()
    }

    /// How many operations a device has pending.
    pub(crate) fn pending(&self, device: usize) -> u64 {
        let counting = self.shared.stores[device].count_ops(None);
        let counted = self.executor.alone(counting).and_then(Result::ok);
        counted.map_or(0, |counts| counts.total())
    }

    pub(crate) fn come_to_rest(&mut self) -> Result<()> {
        self.shared.note(format_args!("every fault ends"));
        self.heal()?;
        if self.plan.seed.is_multiple_of(2) {
            for place in std::mem::take(&mut self.malformed) {
                self.foreign(place, true)?;
            }
        }
        for round in 0..MOST_ROUNDS {
            let before = self.activity();
            // The first round is longer than every sweep interval, whoever synchronizes.
            let driven = self.plan.settings.background && round > 0;
            self.pass(if driven { 2 * INTERVAL } else { LONG })?;
            if self.plan.settings.background {
                self.shared.seen(Branch::DriverSynced);
            } else {
                self.synchronize_everything(round)?;
            }
            let waiting: u64 = (0..self.devices.len()).map(|device| self.pending(device)).sum();
            let acted = self.activity() - before;
            if waiting == 0 && acted == 0 {
                return self.check_rest();
            }
            self.decide(round);
            if !self.shared.ledger().violations().is_empty() {
                return Ok(());
            }
        }
        let left: Vec<String> = (0..self.devices.len())
            .map(|device| format!("device {device}: {:?}", self.ops(device)))
            .collect();
        self.shared
            .violation(|| format!("no rest after {MOST_ROUNDS} rounds: {}", left.join("\n  ")));
        Ok(())
    }

    /// How much has happened. Where the remote tells its changes in the order of commits, rows that are pulled are
    /// something; elsewhere the same ones come again and again.
    fn activity(&self) -> u64 {
        let ledger = self.shared.ledger();
        match self.devices[0].connection.capabilities().cursor {
            CursorKind::CommitOrdered => ledger.activity + ledger.rows_pulled,
            _ => ledger.activity,
        }
    }

    fn ops(&self, device: usize) -> Vec<sync_core::PendingOp> {
        let query = OpQuery::default();
        let loading = self.shared.stores[device].load_ops(&query);
        self.executor
            .alone(loading)
            .and_then(Result::ok)
            .unwrap_or_default()
    }

    fn synchronize_everything(&mut self, round: usize) -> Result<()> {
        for device in 0..self.devices.len() {
            for scope in self.names.scopes.clone() {
                let (app, owner) = self.app(device);
                let (of, started) = (scope.clone(), self.executor.now());
                let syncing = async move { app.synchronize(&of, How::Both).await };
                match self.until(owner, LONG, syncing)? {
                    Ended::Answered(Ok(())) => self.check_finished(device, owner, &scope),
                    Ended::Answered(Err(error)) => self.shared.violation(|| {
                        format!("device {device}: nothing is wrong any more (round {round}), and a sync of {scope} fails: {error:?}")
                    }),
                    Ended::Unknown => {
                        let took = self.executor.now() - started;
                        self.shared
                            .violation(|| format!("device {device}: a sync of {scope} did not end in {took:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A synchronization that went well has read to the end.
    fn check_finished(&self, device: usize, owner: Owner, scope: &SyncScope) {
        let left = self
            .names
            .targets()
            .into_iter()
            .find(|target| target.scope == *scope && self.shared.ledger().is_unfinished(owner, target));
        if let Some(target) = left {
            self.shared.violation(|| {
                format!(
                    "device {device}: a sync went well, and the remote said that there is more of {target}"
                )
            });
        }
    }

    /// The user looks at what waits for a decision.
    fn decide(&mut self, round: usize) {
        for device in 0..self.devices.len() {
            for at in 0..self.ops(device).len() {
                self.resolve(device, (round + at).is_multiple_of(2));
            }
            if round < ROUNDS_OF_HOPE {
                self.retry(device);
                continue;
            }
            let waits = |kind: OpStateKind| matches!(kind, OpStateKind::Parked | OpStateKind::Blocked);
            for _ in 0..self.ops(device).len() {
                let ops = self.ops(device);
                let Some(parked) = ops.iter().position(|op| waits(op.state.kind())) else {
                    break;
                };
                self.discard(device, parked);
            }
        }
    }

    fn check_rest(&mut self) -> Result<()> {
        for target in self.names.targets() {
            let backend = std::sync::Arc::clone(&self.shared.backend);
            let asked = target.clone();
            let truth = self.executor.alone(async move { backend.truth(&asked).await });
            let truth = truth.unwrap_or_else(|| Err(waits()))?;
            for device in 0..self.devices.len() {
                self.check_replica(device, &target, &truth)?;
            }
            self.check_winners(&target, &truth);
            self.check_merges(&target, &truth);
            let records = truth.into_iter();
            let records = records.map(|(id, record)| (sync_core::RecordKey::new(target.clone(), id), record));
            self.truth.extend(records);
        }
        for device in 0..self.devices.len() {
            self.check_screens(device)?;
            let open = ConflictQuery {
                open: Some(true),
                ..ConflictQuery::default()
            };
            let left = self
                .executor
                .alone(self.shared.stores[device].load_conflicts(&open));
            let left = left.unwrap_or_else(|| Err(waits()))?;
            if !left.is_empty() {
                self.shared.violation(|| {
                    format!("device {device}: conflicts without operations are open: {left:?}")
                });
            }
        }
        Ok(())
    }

    fn view(&self, device: usize, target: &Target) -> Result<Records> {
        let spec = QuerySpec::new();
        let asking = self.shared.stores[device].query(target, &spec);
        let rows = self.executor.alone(asking).unwrap_or_else(|| Err(waits()))?;
        Ok(rows.into_iter().map(|row| (row.id, row.payload)).collect())
    }

    /// A replica is what the remote has, and knows what it could not understand.
    fn check_replica(&self, device: usize, target: &Target, truth: &Records) -> Result<()> {
        let view = self.view(device, target)?;
        let backend = &self.shared.backend;
        let broken = backend.malformed(target).unwrap_or_default();
        let understood = |id: &RecordId| {
            let key = sync_core::RecordKey::new(target.clone(), id.clone());
            truth.contains_key(id) || !self.is_malformed(&key)
        };
        let differs = view
            .keys()
            .chain(truth.keys())
            .filter(|id| understood(id))
            .find(|id| !same_record(view.get(*id), truth.get(*id), self.devices[device].schema_version));
        if let Some(id) = differs {
            let (here, there) = (view.get(id), truth.get(id));
            self.shared.violation(|| {
                format!("device {device} ends with {here:?} for {id} of {target}, the remote with {there:?}")
            });
        }
        let loading = self.shared.stores[device].load_quarantine(Some(target), 1_000);
        let aside = self.executor.alone(loading).unwrap_or_else(|| Err(waits()))?;
        // A list of ids does not have a row without one, and a cursor by time can pass it by.
        let by_time = self.devices[device].connection.capabilities().needs_sweep();
        for (id, raw) in broken.into_iter().filter(|(id, _)| id.is_some() || !by_time) {
            // One that no pull brought is known by its id alone, with the raw form of an earlier one or with none.
            let by_id =
                |row: &sync_core::QuarantinedRow| row.row.id == id && (by_time || row.row.raw.is_empty());
            let known = |row: &sync_core::QuarantinedRow| row.row.raw == raw || by_id(row);
            if !aside.iter().any(known) {
                self.shared.violation(|| {
                    format!("device {device}: {raw:?} of {target} is not in quarantine: {aside:?}")
                });
            }
        }
        for row in &aside {
            if row.row.id.as_ref().is_some_and(|id| truth.contains_key(id)) {
                self.shared.violation(|| {
                    format!("device {device}: {row:?} is understood by now, and still in quarantine")
                });
            } else {
                self.shared.seen(Branch::QuarantineLeft);
            }
        }
        let loading = self.shared.stores[device].load_target(target);
        let state = self.executor.alone(loading).unwrap_or_else(|| Err(waits()))?;
        if state.incomplete.is_some() || state.pass.is_some() {
            self.shared.violation(|| {
                format!("device {device}: {target} is synchronized, and its state is {state:?}")
            });
        }
        Ok(())
    }

    fn is_malformed(&self, key: &sync_core::RecordKey) -> bool {
        self.broken.contains(key)
    }

    /// Where the last write wins, and nothing but users' writes came to a record, the latest of them is there.
    fn check_winners(&self, target: &Target, truth: &Records) {
        let can = self.devices[0].connection.capabilities();
        let decided =
            self.plan.settings.decider == Decider::LastWriteWins && can.stamps && can.conditional_write;
        let ledger = self.shared.ledger();
        if !decided || ledger.all_inexact {
            return;
        }
        let mut wrong = Vec::new();
        for (key, history) in ledger.history.iter().filter(|(key, _)| key.target == *target) {
            let Some(last) = history.iter().max_by_key(|write| write.stamp) else {
                continue;
            };
            let there = truth.get(&key.id);
            if !ledger.inexact.contains(key) && !same_record(there, last.record.as_ref(), 1) {
                wrong.push(format!(
                    "{key} ends as {there:?}, not with the latest of {history:#?}"
                ));
            }
        }
        drop(ledger);
        for what in wrong {
            self.shared.violation(|| what);
        }
    }

    /// Every screen shows what is stored.
    fn check_screens(&self, device: usize) -> Result<()> {
        for process in &self.devices[device].processes {
            let Some((watcher, shown)) = process
                .watcher
                .as_ref()
                .and_then(|watcher| Some((watcher, watcher.latest()?)))
            else {
                continue;
            };
            let view = self.view(device, &watcher.target)?;
            let texts: Shown = view
                .into_iter()
                .map(|(id, payload)| (id, (payload.as_str().to_owned(), false)))
                .collect();
            if texts != shown && self.devices[device].schema_version == 1 {
                self.shared.violation(|| {
                    format!("device {device}: a screen shows {shown:?}, and the store has {texts:?}")
                });
            }
        }
        Ok(())
    }
}

/// Whether both are the same record; a device with another schema version has it in another shape.
fn same_record(one: Option<&Payload>, other: Option<&Payload>, schema_version: u32) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) if schema_version == 1 => one.same_content(other),
        (Some(one), Some(other)) => {
            let shape = |payload: &Payload| {
                payload.to_object().map(|mut fields| {
                    fields.remove("v2");
                    fields
                })
            };
            shape(one).ok() == shape(other).ok()
        }
        _ => false,
    }
}

fn waits() -> SyncError {
    SyncError::new(
        sync_core::ErrorKind::Internal,
        "it waits for something while everything stands still",
    )
}

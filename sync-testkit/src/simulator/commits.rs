//! What must hold of every commit of an engine.

use adapter_memory::MemoryLocalStore;
use sync_core::{
    ChangeSet, ChangedFields, LocalStore, OpChange, OpKind, OpState, ParkReason, Payload, PendingOp,
    RecordKey, RecordState, RemoteState, Result, Settlement, SyncPoint, Target,
};

use super::{
    coverage::Branch,
    executor::Owner,
    ledger::{Committed, Ledger},
    memory::REFUSED,
    shared::Shared,
};

/// The part of a change set that is to be judged.
pub(crate) struct CommitSketch {
    /// Records whose row or queue is written.
    pub(crate) keys: Vec<RecordKey>,
    /// Whether it is of a synchronization.
    fenced: bool,
    conflicts: Vec<(RecordKey, Option<Settlement>)>,
    points: Vec<(Target, SyncPoint)>,
    passes_begun: u64,
    quarantined: usize,
    /// How many records were confirmed.
    confirmed: usize,
    /// Records that arrived in a scope that is not theirs.
    strays: Vec<RecordKey>,
}

impl CommitSketch {
    pub(crate) fn new(changes: &ChangeSet, fenced: bool) -> Self {
        let operated = changes.ops.iter().filter_map(|change| match change {
            OpChange::Append(op) | OpChange::Replace(op) => Some(&op.key),
            OpChange::MarkInDoubt { key, .. } => Some(key),
            OpChange::Remove(_) => None,
        });
        let mut keys: Vec<RecordKey> = changes
            .records
            .iter()
            .map(|write| &write.key)
            .chain(&changes.removals)
            .chain(operated)
            .cloned()
            .collect();
        if keys.len() > 1 {
            keys.sort();
            keys.dedup();
        }
        let strays = changes.confirmed.iter().flat_map(|page| {
            let arrived = page.records.iter();
            arrived
                .filter(|one| {
                    one.state
                        .payload()
                        .is_some_and(|record| is_stray(&page.target, record))
                })
                .map(|one| RecordKey::new(page.target.clone(), one.id.clone()))
        });
        let points = changes
            .targets
            .iter()
            .filter_map(|state| Some((state.target.clone(), state.sync_point.clone()?)));
        Self {
            fenced,
            conflicts: changes
                .conflicts
                .iter()
                .map(|conflict| (conflict.key.clone(), conflict.settlement))
                .collect(),
            points: points.collect(),
            passes_begun: changes
                .targets
                .iter()
                .filter(|state| state.pass.is_some() && state.sync_point.is_none())
                .count() as u64,
            quarantined: changes.quarantine.len(),
            confirmed: changes.confirmed.iter().map(|page| page.records.len()).sum(),
            strays: strays.collect(),
            keys,
        }
    }

    /// The sync points that this commit replaces.
    pub(crate) async fn points_before(&self, store: &MemoryLocalStore) -> Result<Vec<Option<SyncPoint>>> {
        let mut points = Vec::with_capacity(self.points.len());
        for (target, _) in &self.points {
            points.push(store.load_target(target).await?.sync_point);
        }
        Ok(points)
    }

    /// Judges the commit by what it made of the records.
    pub(crate) fn check(
        &self,
        shared: &Shared,
        (device, owner): (usize, Owner),
        before: &[RecordState],
        after: &[RecordState],
        points: Vec<Option<SyncPoint>>,
    ) {
        let now = shared.executor.now();
        let mut ledger = shared.ledger();
        ledger.activity += u64::from(self.confirmed > 0 || !self.keys.is_empty());
        ledger.log.event(
            now,
            format_args!(
                "device {device} commits: {} records, {} conflicts, {} sync points, {} rows aside",
                self.keys.len(),
                self.conflicts.len(),
                self.points.len(),
                self.quarantined,
            ),
        );
        for ((target, new), old) in self.points.iter().zip(points) {
            ledger.held.store(owner, target, new);
            if let Some(old) = old
                && shared.backend.is_behind(new, &old) == Some(true)
            {
                let what =
                    format!("device {device}: the sync point of {target} went back from {old:?} to {new:?}");
                ledger.violation(now, what);
            }
        }
        for stray in &self.strays {
            ledger.violation(
                now,
                format!("device {device}: {stray} is a record of another scope"),
            );
        }
        self.count(&mut ledger);
        for (before, after) in before.iter().zip(after) {
            let at_remote = shared.backend.peek(&after.key);
            let judged = self.judge(&mut ledger, device, before, after, at_remote);
            if let Err(what) = judged {
                let text = format!(
                    "device {device}, {}: {what}\n  before: {before:?}\n  after:  {after:?}",
                    after.key
                );
                ledger.violation(now, text);
            }
        }
    }

    fn count(&self, ledger: &mut Ledger) {
        for (_, settlement) in &self.conflicts {
            ledger.coverage.branch(match settlement {
                None => Branch::Deferred,
                Some(Settlement::KeptLocal) => Branch::KeptLocal,
                Some(Settlement::TookRemote) => Branch::TookRemote,
                Some(Settlement::Merged) => Branch::Merged,
                Some(Settlement::Discarded) => Branch::Discarded,
            });
        }
        for _ in 0..self.passes_begun {
            ledger.coverage.branch(Branch::ResyncPass);
        }
        if self.quarantined > 0 {
            ledger.coverage.branch(Branch::Quarantined);
        }
    }

    fn judge(
        &self,
        ledger: &mut Ledger,
        device: usize,
        before: &RecordState,
        after: &RecordState,
        at_remote: Option<RemoteState>,
    ) -> Result<(), String> {
        // A row that was not rewritten since is upgraded when it is read.
        if !ledger.upgraded {
            check_view(after)?;
        }
        check_base(ledger, before, after)?;
        if after
            .view
            .as_ref()
            .is_some_and(|view| is_stray(&after.key.target, view))
        {
            return Err("it is a record of another scope".to_owned());
        }
        if self.fenced {
            check_removal(ledger, device, before, after, at_remote)?;
            self.judge_synced(ledger, device, before, after)
        } else {
            note_written(ledger, device, before, after)
        }
    }

    /// A synchronization changes what the user wrote only by a decision that is on record.
    fn judge_synced(
        &self,
        ledger: &mut Ledger,
        device: usize,
        before: &RecordState,
        after: &RecordState,
    ) -> Result<(), String> {
        note_states(ledger, before, after)?;
        if before.ops.is_empty() {
            if before.view.is_some() && after.view.is_none() && after.revision == 0 {
                ledger.coverage.branch(Branch::RecordRemoved);
            }
            return Ok(());
        }
        let decided = self.conflicts.iter().any(|(key, _)| *key == after.key);
        if decided {
            note_joined(ledger, device, before, after);
        }
        let given_up = ledger.discarding.contains(&device);
        if given_up && after.ops.is_empty() {
            ledger.inexact.insert(after.key.clone());
            return Ok(());
        }
        let left = |op_id| after.ops.iter().any(|op| op.op_id == op_id);
        let took_effect = before
            .ops
            .iter()
            .any(|op| !left(op.op_id) && ledger.ever_took_effect.contains(&op.op_id));
        let is_there = before
            .ops
            .iter()
            .filter(|op| !left(op.op_id))
            .all(|op| shows_changes(op, after.base.payload()));
        if same(&before.view, &after.view)
            || took_effect
            || is_there
            || decided
            || ledger.upgraded
            || was_changed_on_the_way(after)
        {
            return Ok(());
        }
        Err("a pending write was replaced without a conflict on record".to_owned())
    }
}

/// A record that the remote has had all along is removed only if the app gives it up, or may not see it any more.
fn check_removal(
    ledger: &Ledger,
    device: usize,
    before: &RecordState,
    after: &RecordState,
    at_remote: Option<RemoteState>,
) -> Result<(), String> {
    let removed = before.base.is_live() && after.revision == 0;
    let allowed = ledger.giving_up.contains(&device)
        || ledger.discarding.contains(&device)
        || ledger.revoked.contains(after.key.scope().key().as_str());
    match at_remote {
        Some(there) if removed && !allowed && there.is_same_as(&before.base) => {
            Err(format!("it was removed, and the remote has it: {there:?}"))
        }
        _ => Ok(()),
    }
}

/// Base and queue together are what the app sees.
fn check_view(state: &RecordState) -> Result<(), String> {
    let expected = match state.ops.last() {
        Some(op) => op.payload.as_ref(),
        None => state.base.payload(),
    };
    if state.view.as_ref() == expected {
        Ok(())
    } else {
        Err("the view is not the base with the queue".to_owned())
    }
}

/// The base is a state that the remote really had.
fn check_base(ledger: &Ledger, before: &RecordState, after: &RecordState) -> Result<(), String> {
    if after.base == before.base || after.base.version().is_none() || ledger.upgraded {
        return Ok(());
    }
    match ledger.told(&after.key, &after.base) {
        None => Err("the base has a version that the remote never told of".to_owned()),
        Some(held) if !same(held, &after.base.payload().cloned()) => Err(format!(
            "the base differs from what the remote held at its version: {held:?}"
        )),
        Some(_) => Ok(()),
    }
}

/// Whether all that an operation changed is in a record as the operation wanted it, whoever wrote it.
fn shows_changes(op: &PendingOp, record: Option<&Payload>) -> bool {
    let (ChangedFields::Only(changed), Some(wanted), Some(record)) = (&op.changed, &op.payload, record)
    else {
        return false;
    };
    let fields = |payload: &Payload| payload.to_object().unwrap_or_default();
    let (wanted, there) = (fields(wanted), fields(record));
    op.kind == OpKind::Update && changed.iter().all(|field| wanted.get(field) == there.get(field))
}

/// The server changes records on the way in: what the user wrote is there, and something more.
fn was_changed_on_the_way(after: &RecordState) -> bool {
    let by_server = |payload: &Payload| payload.as_str().contains("\"srv\"");
    after.base.payload().is_some_and(by_server)
}

/// Which operations changed their state, and whether they may.
fn note_states(ledger: &mut Ledger, before: &RecordState, after: &RecordState) -> Result<(), String> {
    for op in &after.ops {
        let old = before.ops.iter().find(|old| old.seq == op.seq);
        if old.is_some_and(|old| old.schema_version < op.schema_version) {
            ledger.coverage.branch(Branch::OperationUpgraded);
        }
        if old.is_some_and(|old| old.state == op.state) {
            continue;
        }
        match &op.state {
            OpState::InDoubt => ledger.coverage.branch(Branch::InDoubt),
            OpState::Blocked { .. } => ledger.coverage.branch(Branch::BlockedChild),
            OpState::Parked(reason) => {
                ledger.inexact.insert(after.key.clone());
                match reason {
                    ParkReason::Rejected { code, .. } => {
                        ledger.coverage.branch(Branch::ParkedRejected);
                        if ![REFUSED, "malformed_row"].contains(&code.as_str()) {
                            return Err(format!(
                                "it was parked as refused with {code:?}, which nobody said"
                            ));
                        }
                    }
                    ParkReason::ResolverFailed { .. } => ledger.coverage.branch(Branch::ParkedResolver),
                    ParkReason::SchemaUpgrade { .. } => ledger.coverage.branch(Branch::ParkedSchema),
                    ParkReason::ScopeRevoked => {
                        ledger.coverage.branch(Branch::ParkedRevoked);
                        if !ledger.revoked.contains(after.key.scope().key().as_str()) {
                            return Err("it was parked as revoked, which its scope never was".to_owned());
                        }
                    }
                }
            }
            OpState::Queued | OpState::Deferred => {}
        }
    }
    Ok(())
}

/// Several operations that a decision made one are annulled as one later.
fn note_joined(ledger: &mut Ledger, device: usize, before: &RecordState, after: &RecordState) {
    let Some(joined) = after.ops.first() else { return };
    let left = |op: &PendingOp| after.ops.iter().any(|other| other.seq == op.seq);
    let gone = before.ops.iter().filter(|op| !left(op));
    let gone: Vec<u64> = gone
        .filter(|op| !ledger.ever_took_effect.contains(&op.op_id))
        .map(|op| op.seq)
        .collect();
    for write in ledger.history.entry(after.key.clone()).or_default() {
        if write.device == device && gone.contains(&write.seq) {
            write.seq = joined.seq;
        }
    }
}

/// Enters what a user's commit wrote into the history.
fn note_written(
    ledger: &mut Ledger,
    device: usize,
    before: &RecordState,
    after: &RecordState,
) -> Result<(), String> {
    let known = |stamp| before.ops.iter().any(|op| op.stamp == stamp);
    match (before.ops.last(), after.ops.last()) {
        (_, Some(op)) if !known(op.stamp) => {
            if let Some(payload) = &op.payload {
                ledger.wrote(device, &after.key, payload.as_str());
            }
            if before.ops.iter().any(|old| old.seq == op.seq) {
                ledger.coverage.branch(Branch::Coalesced);
            } else if before.ops.iter().any(|old| old.state == OpState::InDoubt) {
                ledger.coverage.branch(Branch::BehindInDoubt);
            }
            let entry = Committed {
                device,
                moment: ledger.next_moment(),
                seq: op.seq,
                stamp: op.stamp,
                made_on: before.view.clone(),
                record: op.payload.clone(),
            };
            ledger.history.entry(after.key.clone()).or_default().push(entry);
            let joins = op.group.is_none() && before.ops.last().is_some_and(is_open);
            if joins && after.ops.len() > before.ops.len() {
                return Err("it was queued behind one that was never sent".to_owned());
            }
        }
        (Some(_), None) if ledger.discarding.contains(&device) => {
            ledger.inexact.insert(after.key.clone());
        }
        (Some(annulled), _) if before.ops.len() > after.ops.len() => {
            ledger.coverage.branch(Branch::Annulled);
            let history = ledger.history.entry(after.key.clone()).or_default();
            history.retain(|write| write.device != device || write.seq != annulled.seq);
        }
        _ => {}
    }
    Ok(())
}

/// Whether a later write of the record joins this one.
fn is_open(op: &PendingOp) -> bool {
    op.state == OpState::Queued && op.attempts == 0 && op.group.is_none()
}

/// Whether a record says that it belongs to another scope than the one it is in.
fn is_stray(target: &Target, record: &Payload) -> bool {
    let home = home_mark(target);
    !record.as_str().contains(&home)
}

/// How the records of a target say where they belong.
pub(crate) fn home_mark(target: &Target) -> String {
    format!("\"home\":\"{}\"", target.scope.value("user").unwrap_or_default())
}

pub(crate) fn same(one: &Option<Payload>, other: &Option<Payload>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same_content(other),
        (None, None) => true,
        _ => false,
    }
}

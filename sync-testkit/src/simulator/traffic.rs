//! What must hold of the requests of an engine, and of what the remote makes of them.

use std::{sync::Arc, time::Duration};

use sync_core::{
    Delta, LocalStore, OpKind, OpState, PullRequest, PushBatch, PushOp, PushOutcome, RecordKey, RecordState,
    RemoteState, Result, SyncPoint, SyncScope, Target,
};

use super::{
    commits::home_mark,
    coverage::Branch,
    executor::Owner,
    fault_kind::FaultKind,
    log::fingerprint,
    network::Network,
    shared::{Crossing, Shared},
};

/// Two synchronizations of one scope of one device never talk to the remote at the same time.
pub(crate) struct UnderWay {
    shared: Arc<Shared>,
    crossing: Crossing,
}

impl UnderWay {
    pub(crate) fn begin(shared: &Arc<Shared>, device: usize, owner: Owner, scope: &SyncScope) -> Self {
        let name = fingerprint(scope.key().as_str());
        check_pause(shared, device, owner, name);
        let crossing = Crossing {
            device,
            scope: name,
            owner,
        };
        let mut weather = shared.weather();
        let clash = weather
            .crossings
            .iter()
            .find(|other| other.device == device && other.scope == name)
            .map(|other| other.owner)
            .filter(|_| !weather.devices[device].clock_jumped);
        weather.crossings.push(crossing.clone());
        drop(weather);
        if let Some(other) = clash {
            shared.violation(|| {
                format!("device {device}: processes {owner} and {other} synchronize {scope} at the same time")
            });
        }
        Self {
            shared: Arc::clone(shared),
            crossing,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut weather = self.shared.weather();
        let found = weather.crossings.iter().position(|other| *other == self.crossing);
        if let Some(at) = found {
            weather.crossings.swap_remove(at);
        }
    }
}

/// The remote asked this process to come back later.
pub(crate) fn ask_for_pause(network: &Network, scope: &SyncScope, pause: Duration) {
    let end = network.shared.executor.now() + pause;
    let mut weather = network.shared.weather();
    let name = fingerprint(scope.key().as_str());
    weather.devices[network.device]
        .pauses
        .push((network.owner, name, end));
}

/// A driver left to itself keeps the pause that it was asked for.
fn check_pause(shared: &Arc<Shared>, device: usize, owner: Owner, scope: u64) {
    let now = shared.executor.now();
    let mut weather = shared.weather();
    let by_driver = !weather.devices[device].clock_jumped && !weather.devices[device].asked_by_user;
    let pauses = &mut weather.devices[device].pauses;
    let Some(at) = pauses
        .iter()
        .position(|(who, of, _)| (*who, *of) == (owner, scope))
    else {
        return;
    };
    let (_, _, end) = pauses.swap_remove(at);
    drop(weather);
    if now >= end {
        shared.seen(Branch::PauseKept);
    } else if by_driver {
        shared.violation(|| {
            format!(
                "device {device}, process {owner}: asked again {:?} before the pause ended",
                end - now
            )
        });
    }
}

/// What an engine is about to push is in order: the first operation of each record, parents before children, no
/// more than it was told to send.
pub(crate) async fn check_push(network: &Network, batch: &PushBatch) -> Result<()> {
    let shared = &network.shared;
    let store = &shared.stores[network.device];
    if batch.atomic {
        shared.seen(Branch::AtomicBatch);
    } else if batch.ops.len() > network.push_batch {
        shared.violation(|| {
            format!(
                "device {}: {} operations in one push",
                network.device,
                batch.ops.len()
            )
        });
    }
    let keys: Vec<RecordKey> = batch.ops.iter().map(|op| op.key.clone()).collect();
    let states = store.load_records(&keys).await?;
    for (place, (op, state)) in batch.ops.iter().zip(&states).enumerate() {
        let device = network.device;
        if state.ops.first().map(|head| head.op_id) != Some(op.op_id)
            && !shared.weather().devices[device].clock_jumped
        {
            shared.violation(|| {
                format!("device {device}: {op:?} is pushed, and is not the first of {state:?}")
            });
        }
        if let Some(OpState::Parked(reason)) = state.ops.first().map(|head| &head.state) {
            shared.violation(|| format!("device {device}: {op:?} is pushed, and was set aside: {reason:?}"));
        }
        if *op.key.scope() != batch.scope {
            shared.violation(|| format!("device {device}: {op:?} is pushed with those of {}", batch.scope));
        }
        if op.kind == OpKind::Update && op.base.is_none() {
            shared.violation(|| {
                format!("device {device}: {op:?} is pushed without what it was made on: {state:?}")
            });
        }
        let Some(parent) = parent_of(op).filter(|_| network.related) else {
            continue;
        };
        let parent = store.load_records(std::slice::from_ref(&parent)).await?;
        let unborn = |state: &RecordState| {
            let head = state.ops.first();
            !state.base.is_live() && head.is_some_and(|head| head.kind == OpKind::Create)
        };
        for parent in parent.iter().filter(|parent| unborn(parent)) {
            // One that the user made while the batch was put together comes too late to go before its child.
            let too_late = shared
                .ledger()
                .was_written_since_look(network.owner, device, parent);
            if !keys[..place].contains(&parent.key) && !too_late {
                shared
                    .violation(|| format!("device {device}: {op:?} is pushed before its parent {parent:?}"));
            }
        }
    }
    Ok(())
}

/// Whoever has nothing of a target yet asks for no tombstones.
pub(crate) async fn check_pull(network: &Network, request: &PullRequest) -> Result<()> {
    let (device, target) = (network.device, &request.target);
    if request.since.is_some() || !network.shared.ledger().asks_first(device, target) {
        return Ok(());
    }
    let store = &network.shared.stores[device];
    if !request.holds_nothing && store.approx_size(Some(target)).await? == 0 {
        network
            .shared
            .violation(|| format!("device {device}: it holds nothing of {target}, and asks for tombstones"));
    }
    Ok(())
}

fn parent_of(op: &PushOp) -> Option<RecordKey> {
    if op.key.target.collection.as_str() != "items" {
        return None;
    }
    let fields = op.payload.as_ref()?.to_object().ok()?;
    let id = fields.get("list")?.as_str()?;
    let target = Target::new(
        sync_core::CollectionName::new("lists").ok()?,
        op.key.scope().clone(),
    );
    Some(RecordKey::new(target, sync_core::RecordId::new(id).ok()?))
}

/// Hands a push to the remote, and judges what that makes of it.
pub(crate) async fn deliver(network: &Network, batch: PushBatch) -> Result<Vec<PushOutcome>> {
    let shared = &network.shared;
    let backend = &shared.backend;
    let before: Vec<Option<RemoteState>> = batch.ops.iter().map(|op| backend.peek(&op.key)).collect();
    shared.weather().pushes.push(batch.clone());
    let answer = network.remote.push(batch.clone()).await;
    let now = shared.executor.now();
    match &answer {
        Err(error) => {
            shared.note(format_args!(
                "device {}: push fails: {}",
                network.device,
                error.kind()
            ));
        }
        Ok(outcomes) => {
            for ((op, before), outcome) in batch.ops.iter().zip(before).zip(outcomes) {
                let after = backend.peek(&op.key);
                let mut ledger = shared.ledger();
                ledger.log.event(
                    now,
                    format_args!(
                        "device {}: {} of {} is {}",
                        network.device,
                        op.kind.as_str(),
                        op.key,
                        outcome.name()
                    ),
                );
                let forgotten = network.remote.capabilities().idempotent_push
                    && ledger.took_effect.contains(&op.op_id)
                    && !matches!(outcome, PushOutcome::Duplicate { .. });
                drop(ledger);
                if forgotten {
                    let name = outcome.name();
                    shared.violation(|| format!("{op:?} took effect before, and is answered {name}"));
                }
                judge(network, op, before, after, outcome);
            }
        }
    }
    answer
}

fn judge(
    network: &Network,
    op: &PushOp,
    before: Option<RemoteState>,
    after: Option<RemoteState>,
    outcome: &PushOutcome,
) {
    let shared = &network.shared;
    match outcome {
        PushOutcome::Applied { version, .. } => {
            shared.seen(Branch::Applied);
            {
                let mut ledger = shared.ledger();
                ledger.activity += 1;
                ledger.took_effect.insert(op.op_id);
                ledger.ever_took_effect.insert(op.op_id);
            }
            tell_sent(shared, op, outcome);
            if let Some(after) = &after {
                shared.ledger().tell(&op.key, after);
                let there = after.version();
                if there.is_some_and(|there| there != version) || after.is_live() != op.payload.is_some() {
                    shared.violation(|| {
                        format!("{op:?} is answered {outcome:?}, and the remote has {after:?}")
                    });
                }
            }
            if network.remote.capabilities().conditional_write
                && let Some(before) = before
                && !is_base(op, &before)
            {
                shared.violation(|| format!("{op:?} replaced {before:?}, on which it was not made"));
            }
        }
        PushOutcome::Duplicate { .. } => shared.seen(Branch::Duplicate),
        PushOutcome::Conflict { current } => {
            shared.seen(Branch::ConflictAtPush);
            shared.ledger().tell(&op.key, current);
        }
        PushOutcome::Missing => shared.seen(Branch::MissingAtPush),
        PushOutcome::Rejected { .. } => {
            shared.seen(Branch::Rejected);
            shared.struck(FaultKind::PoisonRecord);
        }
        PushOutcome::Retry { .. } | PushOutcome::Unknown { .. } => shared.seen(Branch::RetryAsked),
    }
    let most = 1 + shared.ledger().restores;
    if network.remote.capabilities().idempotent_push
        && let Some(times) = shared.backend.effects_of(op.op_id).filter(|times| *times > most)
    {
        shared.violation(|| format!("{op:?} took effect {times} times"));
    }
}

/// Without a look at the remote, what was sent is what it has now.
fn tell_sent(shared: &Shared, op: &PushOp, outcome: &PushOutcome) {
    let PushOutcome::Applied { version, record, .. } = outcome else {
        return;
    };
    let state = match record.clone().or_else(|| op.payload.clone()) {
        Some(record) if op.payload.is_some() => {
            RemoteState::Live(sync_core::Versioned::new(record, version.clone()))
        }
        _ => RemoteState::Deleted(sync_core::Tombstone {
            version: Some(version.clone()),
            ..sync_core::Tombstone::default()
        }),
    };
    shared.ledger().tell(&op.key, &state);
}

/// Whether an operation may replace this state without anyone being asked.
fn is_base(op: &PushOp, before: &RemoteState) -> bool {
    match (op.kind, before) {
        (OpKind::Create, RemoteState::Live(_)) => false,
        (OpKind::Create, RemoteState::Deleted(tombstone)) => op.base == tombstone.version,
        (OpKind::Create, RemoteState::Missing) => true,
        // Without a base the operation applies to any state, by contract.
        _ => op.base.is_none() || op.base.as_ref() == before.version(),
    }
}

/// Some operations do not reach the remote, and are to be sent again.
pub(crate) async fn deliver_partly(
    network: &Network,
    batch: PushBatch,
    amount: u64,
) -> Result<Vec<PushOutcome>> {
    let goes = |place: usize| (amount | 1) >> (place % 31) & 1 == 1;
    let sent = PushBatch {
        ops: batch
            .ops
            .iter()
            .enumerate()
            .filter(|(place, _)| goes(*place))
            .map(|(_, op)| op.clone())
            .collect(),
        ..batch.clone()
    };
    let mut answered = deliver(network, sent).await?.into_iter();
    let after = amount.is_multiple_of(3).then(|| Duration::from_secs(amount % 40));
    let retry = || PushOutcome::Retry {
        after,
        reason: "the server was busy".to_owned(),
    };
    let outcomes = (0..batch.ops.len()).map(|place| match goes(place) {
        true => answered.next().unwrap_or_else(retry),
        false => {
            network.shared.seen(Branch::RetryAsked);
            retry()
        }
    });
    Ok(outcomes.collect())
}

/// An old push of anybody arrives once more, and nobody waits for the answer.
pub(crate) async fn redeliver(network: &Network, amount: u64) {
    let old = {
        let weather = network.shared.weather();
        let back = usize::try_from(amount % 8).unwrap_or(0);
        weather.pushes.iter().rev().nth(back).cloned()
    };
    if let Some(batch) = old {
        let _ = deliver(network, batch).await;
    }
}

/// What a page tells is noted, and must be of its scope.
pub(crate) fn note_delta(network: &Network, target: &Target, since: Option<&SyncPoint>, delta: &Delta) {
    let now = network.shared.executor.now();
    let home = home_mark(target);
    let mut ledger = network.shared.ledger();
    ledger.log.event(
        now,
        format_args!(
            "device {}: pulls {} changes of {target}, {} malformed{}",
            network.device,
            delta.changes.len(),
            delta.malformed.len(),
            if delta.has_more { ", more to come" } else { "" }
        ),
    );
    ledger.pulls(network.owner, target, delta);
    let held = ledger
        .held
        .pull(network.owner, target, since, delta, network.held_limits);
    if let Some(held) = held {
        let (device, scope) = (network.device, &target.scope);
        ledger.violation(
            now,
            format!("device {device}: {held} rows of {scope} are pulled and not stored"),
        );
    }
    for change in &delta.changes {
        let key = RecordKey::new(target.clone(), change.id.clone());
        ledger.tell(&key, &change.state);
        if change
            .state
            .payload()
            .is_some_and(|record| !record.as_str().contains(&home))
        {
            ledger.violation(
                now,
                format!("device {}: {key} was pulled from another scope", network.device),
            );
        }
    }
}

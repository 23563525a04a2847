//! Synchronizing: alone, at once, and all together.

use std::sync::Arc;

use futures::{FutureExt, future::join_all};
use sync_core::{ErrorKind, OpQuery, OpStateKind, Result, SyncEngine, SyncError, SyncReport, SyncScope};

use super::{
    Done,
    naive::naive_everything,
    scope_of,
    upkeep::forget_if_sent,
    writes::{discard_key, is_refused},
};
use crate::traces::{
    device::{BETWEEN_STEPS, Device, Keeping},
    vocabulary::{OnReject, Step},
    world::World,
};

/// A fleet that has not come to rest after so many rounds never does.
const MAX_ROUNDS: usize = 25;

/// Which halves of a synchronization.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Both,
    Push,
    Pull,
    Full,
}

pub(super) async fn synchronize(device: &Device, step: &Step, way: Way, is_nested: bool) -> Result<Done> {
    let mut scopes = device.scopes();
    if step.scope.is_some() {
        let scope = scope_of(step)?;
        device.touch_scope(&scope);
        let keeping = scopes.get(&scope).copied().unwrap_or(Keeping::Yes);
        scopes = [(scope, keeping)].into();
    }
    let engine = device.engine()?;
    let mut all = Ok(Done::default());
    for (scope, keeping) in scopes {
        let way = if keeping == Keeping::Leaving {
            Way::Push
        } else {
            way
        };
        if is_nested {
            // It begins after the synchronization that is under way, and nobody here can wait for that.
            let _ = one_way(&engine, &scope, way).now_or_never();
            continue;
        }
        let one = one_way(&engine, &scope, way)
            .await
            .map(|report| Done::of(&report));
        if keeping == Keeping::Leaving && one.is_ok() {
            forget_if_sent(device, &scope).await?;
        }
        all = match (all, one) {
            (Ok(all), Ok(one)) => Ok(all.and(one)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
    }
    all
}

async fn one_way(engine: &SyncEngine, scope: &SyncScope, way: Way) -> Result<Arc<SyncReport>> {
    match way {
        Way::Both => engine.synchronize(scope).await,
        Way::Push => engine.push_only(scope).await,
        Way::Pull => engine.pull_only(scope).await,
        Way::Full => engine.full_resync(scope).await,
    }
}

pub(super) async fn in_parallel(device: &Device, step: &Step, number: usize) -> Result<Done> {
    let scopes: Vec<SyncScope> = match &step.scope {
        Some(_) => vec![scope_of(step)?],
        None => device.scopes().into_keys().collect(),
    };
    let first = device.engine()?;
    let second = device.second_engine().await?;
    let mut all = Ok(Done::default());
    for scope in scopes {
        let calls = (0..number).map(|place| {
            let engine = if place % 2 == 0 { &first } else { &second.engine };
            engine.synchronize(&scope)
        });
        for answer in join_all(calls).await {
            if let (Ok(_), Err(error)) = (&all, answer) {
                all = Err(error);
            }
        }
    }
    second.ended().await;
    all
}

/// Everyone synchronizes until nobody has anything left to do.
pub(super) async fn settle(world: &World, step: &Step) -> Result<()> {
    for round in 0..MAX_ROUNDS {
        let mut moved = world.devices.values().any(|device| device.naive().is_some()) && round < 3;
        for device in world.devices.values() {
            let pushes = device.script.counts().pushes;
            let everything = Step {
                scope: None,
                ..step.clone()
            };
            if device.naive().is_some() {
                naive_everything(device).await;
                world.time.advance(BETWEEN_STEPS);
                continue;
            }
            // Errors of single clients (a scope that stays revoked) are seen in what they are left with.
            if let Ok(done) = synchronize(device, &everything, Way::Both, false).await {
                moved |= done.moved;
            }
            moved |= device.script.counts().pushes > pushes;
            after_step(world, device).await?;
            world.time.advance(BETWEEN_STEPS);
        }
        if !moved {
            return Ok(());
        }
    }
    Err(SyncError::new(
        ErrorKind::Internal,
        format!("the clients have not come to rest after {MAX_ROUNDS} rounds"),
    ))
}

/// What the app does after a step: it gives up what was refused, if the trace says so.
pub(in crate::traces) async fn after_step(world: &World, device: &Device) -> Result<()> {
    if world.config.on_reject != Some(OnReject::Rollback) || device.naive().is_some() {
        return Ok(());
    }
    let engine = device.engine()?;
    let query = OpQuery {
        states: vec![OpStateKind::Parked],
        ..OpQuery::default()
    };
    for op in engine.pending_ops(&query).await? {
        if is_refused(&op.state) {
            device.note_given_up(&op.key, discard_key(&engine, &op.key).await?);
        }
    }
    Ok(())
}

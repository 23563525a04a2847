//! What is done to the local store as a whole.

use std::time::Duration;

use sync_core::{ChangeSet, Clock, ErrorKind, Incomplete, Result, SyncScope, TargetState};

use super::Done;
use crate::traces::device::{Device, key, target};

pub(super) async fn reset(device: &Device) -> Result<Done> {
    let engine = device.engine()?;
    for scope in device.scopes().into_keys() {
        engine.clear(&scope, true).await?;
        device.forget_given_up(None);
    }
    Ok(Done::default())
}

pub(super) async fn wipe_cache(device: &Device, only: Option<SyncScope>) -> Result<Done> {
    let engine = device.engine()?;
    let scopes = only.map_or_else(|| device.scopes().into_keys().collect(), |scope| vec![scope]);
    for scope in scopes {
        if engine.count_ops(Some(&scope)).await?.total() == 0 {
            engine.clear(&scope, false).await?;
            continue;
        }
        // Records with pending operations stay; everything else is given up.
        let before = engine.cache_limits().await?;
        let limits = before.clone().with_scope_max_age(&scope, Duration::ZERO);
        engine.set_cache_limits(&limits).await?;
        engine.set_cache_limits(&before).await?;
        reset_cursor(device, Some(scope)).await?;
    }
    Ok(Done::default())
}

pub(super) async fn reset_cursor(device: &Device, only: Option<SyncScope>) -> Result<Done> {
    let scopes = only.map_or_else(|| device.scopes().into_keys().collect(), |scope| vec![scope]);
    for scope in scopes {
        let store = device.running()?.store;
        let state = store.load_target(&target(&scope)?).await?;
        let changes = ChangeSet {
            targets: vec![TargetState {
                sync_point: None,
                ..state
            }],
            ..ChangeSet::at(device.clock.now())
        };
        store.commit(changes).await?;
    }
    Ok(Done::default())
}

/// Evicts one record, as the engine does; one with pending operations stays.
pub(super) async fn purge(device: &Device, scope: &SyncScope, id: &str) -> Result<Done> {
    let store = device.running()?.store;
    let state = store.load_target(&target(scope)?).await?;
    let changes = ChangeSet {
        removals: vec![key(scope, id)?],
        targets: vec![TargetState {
            sync_point: None,
            incomplete: Some(Incomplete::Evicted),
            pulled_at: None,
            ..state
        }],
        ..ChangeSet::at(device.clock.now())
    };
    store.commit(changes).await.map(|_| Done::default())
}

pub(super) async fn leave(device: &Device, scope: &SyncScope) -> Result<Done> {
    device.leave_scope(scope);
    forget_if_sent(device, scope).await.map(|left_over| Done {
        left_over,
        moved: false,
    })
}

/// Forgets a scope that is being left, unless operations are still pending. Returns how many are.
pub(super) async fn forget_if_sent(device: &Device, scope: &SyncScope) -> Result<u64> {
    let engine = device.engine()?;
    match engine.clear(scope, false).await {
        Ok(_) => {
            device.forget_scope(scope);
            Ok(0)
        }
        Err(error) if error.kind() == ErrorKind::PendingOps => {
            Ok(engine.count_ops(Some(scope)).await?.total())
        }
        Err(error) => Err(error),
    }
}

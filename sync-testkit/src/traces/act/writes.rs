//! Writes, and what the user decides about them.

use sync_core::{
    CachePolicy, ChangedFields, ConflictQuery, ErrorKind, OpQuery, OpState, ParkReason, Payload, ReadOptions,
    RecordKey, Result, SyncEngine, SyncError, SyncScope, Write,
    resolve::{Conflict, FieldPolicy, Resolution},
};

use super::{Done, scope_of};
use crate::traces::{
    device::{Device, key},
    resolvers::merged,
    vocabulary::{Choice, Fields, Step},
};

pub(super) async fn create(
    device: &Device,
    step: &Step,
    scope: &SyncScope,
    id: &str,
    fields: &Fields,
) -> Result<Done> {
    let key = key(scope, id)?;
    let new = || Write::create_raw(key.clone(), Payload::from_object(fields));
    match write(device, step, new()).await {
        Err(error) if error.kind() == ErrorKind::Invalid => {
            // A refused record that the app still shows: without `on_reject`, to make it anew is right as well.
            if device
                .engine()?
                .explain(&key)
                .await?
                .record
                .ops
                .iter()
                .any(|op| is_refused(&op.state))
            {
                discard_key(&device.engine()?, &key).await?;
                return write(device, step, new()).await;
            }
            Err(error)
        }
        other => other,
    }
}

pub(super) async fn update(
    device: &Device,
    step: &Step,
    scope: &SyncScope,
    id: &str,
    fields: &Fields,
) -> Result<Done> {
    let key = key(scope, id)?;
    let offline = ReadOptions::from(CachePolicy::OfflineOnly);
    let there = device.engine()?.get(&key, &offline).await?;
    let mut record = match there.records.first() {
        Some(record) => record.payload.to_object()?,
        None => Fields::new(),
    };
    record.extend(fields.iter().map(|(field, value)| (field.clone(), value.clone())));
    write(
        device,
        step,
        Write::update_raw(key, Payload::from_object(&record)),
    )
    .await
}

pub(super) async fn write(device: &Device, step: &Step, write: Write) -> Result<Done> {
    let engine = device.engine()?;
    let scope = write.key().scope().clone();
    device.touch_scope(&scope);
    device.begin_write(step);
    let written = engine.write(write).await;
    device.end_write();
    let written = written?;
    let Some(op_id) = written.op_id.filter(|_| step.require_remote) else {
        return Ok(Done::default());
    };
    // The app wants an answer now, or the write not at all.
    let answer = engine.push_only(&scope).await;
    let query = OpQuery {
        op_ids: Some(vec![op_id]),
        ..OpQuery::default()
    };
    let unsent = engine.pending_ops(&query).await?;
    if unsent.is_empty() {
        return Ok(Done::default());
    }
    engine.discard_op(op_id).await?;
    Err(answer
        .err()
        .unwrap_or_else(|| SyncError::new(ErrorKind::Unreachable, "the remote did not take the write")))
}

pub(super) fn is_refused(state: &OpState) -> bool {
    matches!(state, OpState::Parked(ParkReason::Rejected { .. }))
}

pub(super) async fn discard_key(engine: &SyncEngine, key: &RecordKey) -> Result<u64> {
    match engine.explain(key).await?.record.ops.first() {
        Some(op) => Ok(engine.discard_op(op.op_id).await?.len() as u64),
        None => Ok(0),
    }
}

pub(super) async fn discard(device: &Device, step: &Step, id: Option<&str>) -> Result<Done> {
    device.forget_given_up(id);
    let engine = device.engine()?;
    let scope = step.scope.is_some().then(|| scope_of(step)).transpose()?;
    let query = OpQuery {
        scope: if id.is_some() {
            Some(scope_of(step)?)
        } else {
            scope
        },
        ..OpQuery::default()
    };
    let mut keys: Vec<RecordKey> = engine
        .pending_ops(&query)
        .await?
        .into_iter()
        .map(|op| op.key)
        .collect();
    keys.retain(|key| id.is_none_or(|id| key.id.as_str() == id));
    keys.dedup();
    for key in keys {
        discard_key(&engine, &key).await?;
    }
    Ok(Done::default())
}

pub(super) async fn resolve(
    device: &Device,
    step: &Step,
    scope: &SyncScope,
    id: &str,
    choice: Choice,
    fields: &Fields,
) -> Result<Done> {
    let engine = device.engine()?;
    let query = ConflictQuery {
        key: Some(key(scope, id)?),
        open: Some(true),
        ..ConflictQuery::default()
    };
    let open = engine.conflicts(&query).await?.into_iter().next();
    let open =
        open.ok_or_else(|| SyncError::new(ErrorKind::NotFound, format!("{id:?} has no open conflict")))?;
    let resolution = match choice {
        Choice::Local => Resolution::KeepLocal,
        Choice::Remote => Resolution::TakeRemote,
        Choice::Merged => {
            let conflict = Conflict {
                key: open.key.clone(),
                base: open.base.clone(),
                local: open.local.clone(),
                remote: open.remote.payload().cloned(),
                changed: ChangedFields::All,
                local_stamp: open.local_stamp,
                local_time: open.local_stamp.time(),
                remote_stamp: open.remote.stamp(),
                remote_time: None,
            };
            let mut record = merged(&conflict, FieldPolicy::PreferLocal)?;
            record.extend(fields.iter().map(|(field, value)| (field.clone(), value.clone())));
            Resolution::Merged(Payload::from_object(&record))
        }
    };
    device.begin_write(step);
    let settled = engine.resolve_conflict(open.conflict_id, resolution).await;
    device.end_write();
    settled.map(|_| Done::default())
}

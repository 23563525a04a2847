//! Records and operations written under an older schema version.

use crate::{
    error::{Result, SyncError},
    id::RecordId,
    operation::{OpState, ParkReason},
    payload::Payload,
    record::CollectionSchema,
    record_state::RecordState,
};

/// The payload in the shape of the current schema version.
///
/// # Errors
/// `Malformed` with what the record type's upgrade said.
pub(crate) fn upgrade_payload(
    schema: &CollectionSchema,
    payload: &Payload,
    from_version: u32,
) -> Result<Payload> {
    if from_version >= schema.schema_version {
        return Ok(payload.clone());
    }
    let fields = (schema.upgrade)(payload.to_object()?, from_version).map_err(|message| {
        SyncError::new(
            crate::ErrorKind::Malformed,
            format!("schema version {from_version}: {message}"),
        )
        .with_field("schema_version")
    })?;
    Ok(Payload::from_object(&fields))
}

/// A payload from the remote in the current shape. A remote does not tell schema versions, so a payload that does
/// not fit is taken for one of an older version, the latest first.
///
/// # Errors
/// Why it does not fit as it is, if no older version fits either.
pub(crate) fn fit_payload(schema: &CollectionSchema, payload: &Payload, id: &RecordId) -> Result<Payload> {
    let Err(unfit) = (schema.check)(payload, id) else {
        return Ok(payload.clone());
    };
    (1..schema.schema_version)
        .rev()
        .filter_map(|version| upgrade_payload(schema, payload, version).ok())
        .find(|upgraded| (schema.check)(upgraded, id).is_ok())
        .ok_or(unfit)
}

/// Whether [`upgrade_state`] leaves the record and its queue as they are.
pub(crate) fn is_current(schema: &CollectionSchema, state: &RecordState) -> bool {
    let current = |version: u32| version >= schema.schema_version;
    (state.revision == 0 || current(state.schema_version))
        && state.ops.iter().all(|op| current(op.schema_version))
}

/// Brings a record and its queue to the current schema version. An operation that cannot be is parked with the
/// reason; a base or view that cannot be stays as it is, and is reported when it is read.
pub(crate) fn upgrade_state(schema: &CollectionSchema, state: &mut RecordState) {
    let from = state.schema_version;
    if state.revision > 0 && from < schema.schema_version {
        let upgrade = |payload: &Payload| upgrade_payload(schema, payload, from);
        let view = state.view.as_ref().map(upgrade).transpose();
        let base = state.base.payload().map(upgrade).transpose();
        if let (Ok(view), Ok(base)) = (view, base) {
            state.view = view;
            if let (crate::RemoteState::Live(live), Some(base)) = (&mut state.base, base) {
                live.record = base;
            }
            state.schema_version = schema.schema_version;
        }
    }
    for op in &mut state.ops {
        let Some(payload) = op
            .payload
            .as_ref()
            .filter(|_| op.schema_version < schema.schema_version)
        else {
            continue;
        };
        match upgrade_payload(schema, payload, op.schema_version) {
            Ok(upgraded) => {
                op.payload = Some(upgraded);
                op.schema_version = schema.schema_version;
                // Renamed fields would be missed by a list of the old names.
                op.changed = crate::ChangedFields::All;
            }
            // The user can still decide for the other side.
            Err(_) if op.state == OpState::Deferred => {}
            Err(error) => {
                op.state = OpState::Parked(ParkReason::SchemaUpgrade {
                    message: error.message().to_owned(),
                });
            }
        }
    }
}

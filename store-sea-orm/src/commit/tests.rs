//! Change sets for the tests of this crate.

use sync_core::{
    ChangeSet, ChangedFields, Confirmation, ConfirmedPage, OpChange, OpId, OpKind, OpState, Payload,
    PendingOp, RecordId, RecordKey, RecordWrite, RemoteState, RemoteVersion, Stamp, Target, Timestamp,
    Versioned,
};

/// A change set that confirms these records.
pub(crate) fn confirm(target: &Target, rows: &[(&str, &str)]) -> ChangeSet {
    let records = rows.iter().map(|(id, text)| Confirmation {
        id: RecordId::new(*id).unwrap(),
        state: RemoteState::Live(Versioned::new(
            Payload::parse(*text).unwrap(),
            RemoteVersion::opaque("v1"),
        )),
    });
    let page = ConfirmedPage {
        only_new: false,
        target: target.clone(),
        records: records.collect(),
        schema_version: 1,
        mark: 0,
    };
    ChangeSet {
        confirmed: vec![page],
        ..ChangeSet::at(Timestamp::EPOCH)
    }
}

/// A change set that makes a record, and queues that.
pub(crate) fn queued(target: &Target, id: &str) -> ChangeSet {
    let key = RecordKey::new(target.clone(), RecordId::new(id).unwrap());
    let payload = Payload::parse("{}").unwrap();
    let op = PendingOp {
        op_id: OpId::from_uuid(uuid::Uuid::from_u128(1)),
        seq: 0,
        key: key.clone(),
        kind: OpKind::Create,
        payload: Some(payload.clone()),
        changed: ChangedFields::All,
        base: None,
        stamp: Stamp::new(1, 0, 1),
        enqueued_at: Timestamp::EPOCH,
        schema_version: 1,
        group: None,
        state: OpState::Queued,
        attempts: 0,
        next_attempt_at: Timestamp::EPOCH,
        last_failure: None,
    };
    let record = RecordWrite {
        key,
        read_revision: 0,
        view: Some(payload),
        keeps_view: false,
        schema_version: 1,
        base: RemoteState::Missing,
        pending: 1,
        mark: 0,
    };
    ChangeSet {
        records: vec![record],
        ops: vec![OpChange::Append(op)],
        ..ChangeSet::at(Timestamp::EPOCH)
    }
}

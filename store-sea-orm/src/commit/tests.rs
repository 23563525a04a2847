//! Change sets for the tests of this crate.

use sync_core::{
    ChangeSet, Confirmation, ConfirmedPage, Payload, RecordId, RemoteState, RemoteVersion, Target, Timestamp,
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

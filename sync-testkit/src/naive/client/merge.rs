//! Conflicts of a naive client that are settled by fields.

use std::collections::BTreeSet;

use sync_core::{JsonObject, Payload, RecordKey, RemoteState};

use super::{Kept, NaiveClient};

impl NaiveClient {
    /// The changes of both sides, if the client merges fields and both have the record. Of a field that both changed, the
    /// later change stays.
    pub(super) fn merged(
        &self,
        kept: &Kept,
        key: &RecordKey,
        current: &RemoteState,
        local_is_later: bool,
    ) -> Option<Payload> {
        if !self.merges_fields {
            return None;
        }
        let fields = |record: &Payload| record.to_object().unwrap_or_default();
        let row = kept.rows.get(key)?;
        let (local, remote) = (fields(row.view.as_ref()?), fields(current.payload()?));
        // What was sent without an answer may be there, and what others did then came after it.
        let sent = kept.ops.iter().filter(|op| op.key == *key && op.attempts > 0);
        let sent = sent.filter_map(|op| op.payload.as_ref());
        let known: Vec<JsonObject> = row.base.payload().into_iter().chain(sent).map(fields).collect();
        let mut merged = JsonObject::new();
        for field in local.keys().chain(remote.keys()).collect::<BTreeSet<_>>() {
            let (here, there) = (local.get(field), remote.get(field));
            let is_known = |value| known.iter().any(|record| record.get(field) == value);
            let takes_local = is_known(there) || local_is_later && !is_known(here);
            if let Some(value) = if takes_local { here } else { there } {
                merged.insert(field.clone(), value.clone());
            }
        }
        Some(Payload::from_object(&merged))
    }
}

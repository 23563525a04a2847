//! Conflict resolution: what becomes of a record that changed on both sides since they last agreed.
//!
//! A resolver is asked only about *concurrent* changes. If nobody else changed the record since the user's
//! write was made, the write applies, whatever the clocks say. What a resolver decides ends on both sides.

mod field_merge;
mod strategies;
mod typed;

use std::fmt;

use crate::{
    error::Result, id::RecordKey, operation::ChangedFields, payload::Payload, stamp::Stamp, time::Timestamp,
};

pub use field_merge::{DeleteRule, FieldMerge, FieldPolicy};
pub use strategies::{ClientWins, LastWriteWins, Manual, ServerWins};
pub use typed::{TypedConflict, TypedResolver};

/// A record that changed on both sides since they last agreed.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The record.
    pub key: RecordKey,
    /// The last state both sides had in common; `None` if there was none, or it is not known.
    pub base: Option<Payload>,
    /// The local value with all pending writes; `None` = deleted.
    pub local: Option<Payload>,
    /// The remote value; `None` = deleted.
    pub remote: Option<Payload>,
    /// The fields the user's writes meant to change.
    pub changed: ChangedFields,
    /// The stamp of the latest local write.
    pub local_stamp: Stamp,
    /// When the latest local write was made, in the server's time as far as the offset could be measured.
    pub local_time: Timestamp,
    /// The stamp of the remote write, if the remote keeps stamps and this one was plausible.
    pub remote_stamp: Option<Stamp>,
    /// The server's time of the remote write, if it tells.
    pub remote_time: Option<Timestamp>,
}

impl Conflict {
    /// Whether the local write is the later one: by stamps where the remote keeps them, else by the server's
    /// time. On a tie, and if the remote tells neither, the remote write counts as later.
    pub fn local_is_later(&self) -> bool {
        match (self.remote_stamp, self.remote_time) {
            (Some(remote), _) => self.local_stamp > remote,
            (None, Some(remote)) => self.local_time > remote,
            (None, None) => false,
        }
    }
}

/// What a resolver decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution<T = Payload> {
    /// The local value stands and is pushed.
    KeepLocal,
    /// The remote value stands; the local writes are dropped, and kept in the conflict history.
    TakeRemote,
    /// This value takes the place of both and is pushed.
    Merged(T),
    /// The user decides later. The conflict is durable, the record keeps its local value, and other records go
    /// on.
    Defer,
}

/// Decides conflicts.
///
/// # Contract
/// Deterministic: equal conflicts get equal answers, on every device. It takes no locks of the app and does no
/// input or output. A panic or an error parks the operation with the message; nothing is lost.
pub trait ConflictResolver: fmt::Debug + Send + Sync + 'static {
    /// A short name for messages and history.
    fn name(&self) -> &str;

    /// Decides one conflict.
    ///
    /// # Errors
    /// Any error parks the local operation, visibly, with its message.
    fn resolve(&self, conflict: &Conflict) -> Result<Resolution>;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::scope::{CollectionName, SyncScope, Target};

    pub(crate) fn conflict(base: Option<&str>, local: Option<&str>, remote: Option<&str>) -> Conflict {
        let payload = |text: Option<&str>| text.map(|text| Payload::parse(text).unwrap());
        let target = Target::new(
            CollectionName::new("todos").unwrap(),
            SyncScope::new("s").unwrap(),
        );
        Conflict {
            key: RecordKey::new(target, crate::RecordId::new("r").unwrap()),
            base: payload(base),
            local: payload(local),
            remote: payload(remote),
            changed: ChangedFields::All,
            local_stamp: Stamp::new(10, 0, 1),
            local_time: Timestamp::from_millis(10),
            remote_stamp: Some(Stamp::new(9, 0, 2)),
            remote_time: None,
        }
    }

    #[test]
    fn stamps_decide_before_times_and_ties_go_to_the_remote() {
        let mut c = conflict(None, Some("{}"), Some("{}"));
        c.remote_time = Some(Timestamp::from_millis(99));
        assert!(c.local_is_later());
        c.remote_stamp = Some(c.local_stamp);
        assert!(!c.local_is_later(), "a tie keeps what is stored");
        c.remote_stamp = None;
        assert!(!c.local_is_later());
        c.remote_time = Some(c.local_time);
        assert!(!c.local_is_later(), "a tie keeps what is stored");
        c.remote_time = None;
        assert!(!c.local_is_later(), "without any time the remote counts as later");
    }
}

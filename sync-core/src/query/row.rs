//! Records as filters and orders see them, wherever their values lie.

use super::{path::FieldPath, scalar::Scalar};
use crate::{id::RecordId, payload::JsonObject};

/// A record that a query is evaluated on.
pub(super) trait Row {
    /// The record's id.
    fn id(&self) -> &str;

    /// The value at a path that is not the id's.
    fn field(&self, path: &FieldPath) -> Scalar<'_>;

    /// What filters and orders see at a path.
    fn read(&self, path: &FieldPath) -> Scalar<'_> {
        if path.is_id() {
            Scalar::Text(self.id())
        } else {
            self.field(path)
        }
    }
}

/// A record whose content was parsed.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonRow<'a> {
    pub(super) id: &'a RecordId,
    pub(super) fields: &'a JsonObject,
}

impl Row for JsonRow<'_> {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn field(&self, path: &FieldPath) -> Scalar<'_> {
        Scalar::of_field(path.lookup(self.fields))
    }
}

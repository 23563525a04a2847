//! What is wrong with an index over several fields.

use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Serialize, Deserialize, SyncRecord)]
#[sync(collection = "unknown_field", index(owner, desc(changed)))]
struct UnknownField {
    #[sync(id)]
    id: String,
    owner: String,
}

#[derive(Serialize, Deserialize, SyncRecord)]
#[sync(collection = "no_fields", index())]
struct NoFields {
    #[sync(id)]
    id: String,
}

#[derive(Serialize, Deserialize, SyncRecord)]
#[sync(collection = "no_parentheses", index)]
struct NoParentheses {
    #[sync(id)]
    id: String,
}

#[derive(Serialize, Deserialize, SyncRecord)]
#[sync(collection = "not_serialized", index(hidden))]
struct NotSerialized {
    #[sync(id)]
    id: String,
    #[serde(skip)]
    hidden: u8,
}

#[derive(Serialize, Deserialize, SyncRecord)]
#[sync(collection = "other_order", index(ascending(owner)))]
struct OtherOrder {
    #[sync(id)]
    id: String,
    owner: String,
}

#[derive(Serialize, Deserialize, SyncRecord)]
#[sync(collection = "two_in_desc", index(desc(owner, id)))]
struct TwoInDesc {
    #[sync(id)]
    id: String,
    owner: String,
}

fn main() {}

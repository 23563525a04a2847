use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "")]
struct Empty {
    #[sync(id)]
    id: String,
    #[sync(parent = "")]
    parent: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "to\ndos")]
struct ControlCharacter {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")]
struct TooLong {
    #[sync(id)]
    id: String,
}

fn main() {}

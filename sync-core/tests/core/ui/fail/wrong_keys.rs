use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(table = "todos")]
struct UnknownOnStruct {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct UnknownOnField {
    #[sync(id, indexed)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(index)]
struct Misplaced {
    #[sync(id, collection = "todos")]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "a", collection = "b")]
struct Repeated {
    #[sync(id)]
    #[sync(id)]
    id: String,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(collection)]
struct A {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(schema_version)]
struct B {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(upgrade)]
struct C {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(crate)]
struct D {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct Todo {
    #[sync(id)]
    id: String,
    #[sync(parent)]
    project: String,
}

fn main() {}

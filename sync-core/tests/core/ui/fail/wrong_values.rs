use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(collection = 5)]
struct A {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(collection = todos)]
struct B {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(schema_version = "2")]
struct C {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(schema_version = 0)]
struct D {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(schema_version = 4294967296)]
struct E {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(schema_version = -1)]
struct F {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(upgrade = "path::to::function")]
struct G {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(crate = "not a path")]
struct H {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(no_fields = true)]
struct I {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct Flags {
    #[sync(id = "uuid")]
    id: String,
    #[sync(index(unique))]
    title: String,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
enum Enumeration {
    Open,
    Done { id: String },
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct TupleStruct(#[sync(id)] String);

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct UnitStruct;

#[derive(Clone, Copy, SyncRecord)]
union UnionType {
    id: u32,
}

#[derive(Clone, Serialize, SyncRecord)]
struct Borrowed<'a> {
    #[sync(id)]
    id: String,
    title: &'a str,
}

fn main() {}

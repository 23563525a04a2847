use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(colection = "todos")]
struct Todo {
    #[sync(index, indx)]
    title: String,
    #[serde(skip)]
    #[sync(index)]
    done: bool,
}

fn main() {}

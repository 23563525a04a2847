use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct Todo {
    #[sync(id)]
    id: f64,
}

fn main() {}

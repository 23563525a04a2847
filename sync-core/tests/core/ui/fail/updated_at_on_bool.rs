use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct Todo {
    #[sync(id)]
    id: String,
    #[sync(updated_at)]
    changed: Option<bool>,
}

fn main() {}

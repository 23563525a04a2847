use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct Todo {
    #[sync(id)]
    id: String,
    #[sync(updated_at)]
    changed: f64,
    #[sync(deleted_at)]
    removed: Option<f64>,
}

fn main() {}

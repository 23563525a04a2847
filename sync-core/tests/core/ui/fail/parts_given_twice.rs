use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct TwoIds {
    #[sync(id)]
    id: String,
    #[sync(id)]
    other: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct TwoTimes {
    #[sync(id)]
    id: String,
    #[sync(updated_at)]
    changed: i64,
    #[sync(updated_at)]
    edited: i64,
    #[sync(deleted_at)]
    removed: Option<i64>,
    #[sync(deleted_at)]
    gone: bool,
}

fn main() {}

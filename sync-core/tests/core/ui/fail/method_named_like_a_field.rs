use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct Todo {
    #[sync(id)]
    id: String,
    title: String,
}

impl Todo {
    fn title(&self) -> &str {
        &self.title
    }
}

fn main() {}

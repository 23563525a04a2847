use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[serde(transparent)]
struct Wrapper {
    #[sync(id)]
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[serde(into = "Stored", from = "Stored")]
struct Shown {
    #[sync(id)]
    id: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    key: String,
}

impl From<Shown> for Stored {
    fn from(shown: Shown) -> Self {
        Self { key: shown.id }
    }
}

impl From<Stored> for Shown {
    fn from(stored: Stored) -> Self {
        Self { id: stored.key }
    }
}

fn main() {}

//! A todo list that is kept in an SQLite file and synchronized with a remote.

use std::{error::Error, sync::Arc};

use adapter_memory::MemoryRemoteStore;
use serde::{Deserialize, Serialize};
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::{CachePolicy, SimpleSyncOrchestrator, SyncRecord, SyncScope, query::QuerySpec};

#[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "todos")]
struct Todo {
    #[sync(id)]
    id: String,
    title: String,
    #[sync(index)]
    done: bool,
}

impl Todo {
    fn new(id: &str, title: &str) -> Self {
        let (id, title, done) = (id.to_owned(), title.to_owned(), false);
        Self { id, title, done }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = SeaOrmLocalStore::open(OpenOptions::file(folder.path().join("todos.db"))).await?;
    let remote = MemoryRemoteStore::new();
    let todos = SimpleSyncOrchestrator::<Todo>::open(Arc::new(store), Arc::new(remote)).await?;
    let inbox = SyncScope::new("inbox")?.with("user", "ada")?;

    // A write is in the file, and queued for the remote, when the call returns. No network is needed.
    todos.enqueue_create(&inbox, &Todo::new("1", "Buy tea")).await?;
    todos.enqueue_create(&inbox, &Todo::new("2", "Buy milk")).await?;
    let tea = Todo::title().contains("tea");
    todos.update_where(&inbox, tea, |todo| todo.done = true).await?;

    let before = todos.read(&inbox, CachePolicy::OfflineOnly).await?;
    let (all, unsent) = (before.items.len(), before.pending.len());
    println!("offline: {all} todos, {unsent} not sent yet");

    let report = todos.synchronize(&inbox).await?;
    println!("synchronized: {} pushed, {} pulled", report.pushed, report.pulled);

    // Every read says where its answer comes from; this one asks the remote first, if it can be reached.
    let open = QuerySpec::new().filter(Todo::done().eq(false));
    let answer = todos.read_with(&inbox, &open, CachePolicy::RemoteFirst).await?;
    for todo in &answer.items {
        println!("still to do: {}", todo.title);
    }
    println!("complete: {}, stale: {}", answer.is_complete(), answer.is_stale());
    Ok(())
}

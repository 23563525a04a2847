//! A live query: device B shows its open todos anew whenever device A changes them.

use std::{error::Error, sync::Arc};

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sync_core::{BackgroundOptions, SimpleSyncOrchestrator, SyncRecord, SyncScope, query::QuerySpec};

#[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "todos")]
struct Todo {
    #[sync(id)]
    id: String,
    title: String,
    done: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let remote = MemoryRemoteStore::new();
    let a = device(&remote).await?;
    let b = device(&remote).await?;
    let scope = SyncScope::new("kitchen")?;

    // B never synchronizes by hand: the driver pulls when the remote pokes. Dropping the handle ends it.
    let _background = b.start_background(&scope, BackgroundOptions::default())?;
    let open = QuerySpec::new().filter(Todo::done().eq(false));
    let mut live = b.watch(&scope, &open);
    let mut show = async |what: &str| -> Result<(), Box<dyn Error>> {
        let answer = live.next().await.ok_or("the engine stopped")??;
        let titles: Vec<_> = answer.items.iter().map(|todo| todo.title.as_str()).collect();
        println!("{what:<30} B shows [{}]", titles.join(", "));
        Ok(())
    };
    show("at the start").await?;

    let mut todos = Vec::new();
    for (number, title) in ["boil water", "warm the pot", "pour"].into_iter().enumerate() {
        let todo = Todo {
            id: number.to_string(),
            title: title.into(),
            done: false,
        };
        a.enqueue_create(&scope, &todo).await?;
        a.synchronize(&scope).await?;
        show(&format!("A adds {title:?}")).await?;
        todos.push(todo);
    }
    for mut todo in todos {
        todo.done = true;
        a.enqueue_update(&scope, &todo).await?;
        a.synchronize(&scope).await?;
        show(&format!("A has done {:?}", todo.title)).await?;
    }
    Ok(())
}

async fn device(remote: &MemoryRemoteStore) -> sync_core::Result<SimpleSyncOrchestrator<Todo>> {
    let store = Arc::new(MemoryLocalStore::new());
    SimpleSyncOrchestrator::open(store, Arc::new(remote.another_client())).await
}

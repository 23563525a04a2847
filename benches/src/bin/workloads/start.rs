//! The start of a process.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use sync_core::{CachePolicy, LocalStore};

use crate::{
    Failure, Run, open, open_on, open_store, queue,
    records::{Todo, todo},
    remote::Pages,
    remove_old,
    report::{figure, micros},
    scope,
};

/// W8, the store: 100,000 records and 10,000 pending operations.
pub(crate) async fn prepare(run: &Run<'_>) -> Result<(), Failure> {
    remove_old(run).await?;
    let store = open_store(run).await?;
    let todos = open_on::<Todo>(store.clone(), Arc::new(Pages::new(100_000))).await?;
    todos.pull_only(&scope()).await?;
    queue::fill(&todos, 100_000..110_000).await?;
    Ok(store.close().await?)
}

/// W8: open and read one record.
pub(crate) async fn first_read(run: &Run<'_>) -> Result<(), Failure> {
    let started = Instant::now();
    let store = open::<Todo>(run, Arc::new(Pages::new(100_000))).await?;
    let found = store
        .get(&scope(), &todo(42).id, CachePolicy::OfflineOnly)
        .await?;
    let opened = micros(started) / 1_000.0;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    if found != Some(todo(42)) {
        return Err("the record is not there".into());
    }
    figure(&run.system, "W8", "open+read", "ms", opened);
    if let Ok(launched) = std::env::var("BENCH_T0") {
        let launched: u128 = launched.parse()?;
        let since = now.saturating_sub(launched) as f64 / 1e6;
        figure(&run.system, "W8", "from exec", "ms", since);
    }
    Ok(())
}

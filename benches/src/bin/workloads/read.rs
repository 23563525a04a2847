//! Reads and live queries.

use std::time::Instant;

use futures::StreamExt;
use sync_core::{
    CachePolicy, SimpleSyncOrchestrator, SyncRecord,
    query::{OrderBy, QuerySpec},
};

use crate::{
    Failure, Run, filled, number,
    records::{Generator, PlainTodo, Todo, owner, todo},
    report::{latencies, micros},
    scope,
};

const RECORDS: u32 = 100_000;

/// The newest 50 of one owner that are not done.
fn newest(owner: &str) -> QuerySpec {
    QuerySpec::new()
        .filter(Todo::owner().eq(owner).and(Todo::done().eq(false)))
        .order_by(OrderBy::desc("updated_at"))
        .limit(50)
}

/// W5: the query with an index on the owner, and without.
pub(crate) async fn queries(run: &Run<'_>) -> Result<(), Failure> {
    let (store, _) = filled::<PlainTodo>(run, RECORDS).await?;
    query_owners(run, &store, "b:noindex ", number(50)).await?;
    let (store, _) = filled::<Todo>(run, RECORDS).await?;
    query_owners(run, &store, "a:index ", number(500)).await
}

async fn query_owners<T: SyncRecord>(
    run: &Run<'_>,
    store: &SimpleSyncOrchestrator<T>,
    name: &str,
    rounds: u32,
) -> Result<(), Failure> {
    let mut random = Generator::new(5);
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let spec = newest(&owner(random.below(100)));
        let started = Instant::now();
        let answer = store.read_with(&scope(), &spec, CachePolicy::OfflineOnly).await?;
        samples.push(micros(started));
        if answer.items.len() != 50 {
            return Err(format!("{} records instead of 50", answer.items.len()).into());
        }
    }
    latencies(&run.system, "W5", name, samples);
    Ok(())
}

/// W6: get by id, every record for the first time, and the same ones again.
pub(crate) async fn gets(run: &Run<'_>) -> Result<(), Failure> {
    let (store, _) = filled::<Todo>(run, RECORDS).await?;
    let mut random = Generator::new(5);
    let ids: Vec<String> = (0..number(10_000))
        .map(|_| todo(random.below(RECORDS)).id)
        .collect();
    for (name, ids) in [("", &ids[..]), ("hot ", &ids[..ids.len().min(500)])] {
        let mut samples = Vec::new();
        let rounds = if name.is_empty() { 1 } else { 10 };
        for round in 0..=rounds {
            for id in ids {
                let started = Instant::now();
                let found = store.get(&scope(), id, CachePolicy::OfflineOnly).await?;
                let time = micros(started);
                if found.is_none() {
                    return Err("a record is not there".into());
                }
                // The first of the repeated rounds only warms up.
                if rounds == 1 || round > 0 {
                    samples.push(time);
                }
            }
            if rounds == 1 {
                break;
            }
        }
        latencies(&run.system, "W6", name, samples);
    }
    Ok(())
}

/// W7: from the end of a local write to the moment at which the subscriber has the new answer.
pub(crate) async fn live(run: &Run<'_>) -> Result<(), Failure> {
    let records = 10_000;
    let (store, _) = filled::<Todo>(run, records).await?;
    let mut answers = store.watch(&scope(), &newest(&owner(7)));
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let subscriber = tokio::spawn(async move {
        while let Some(answer) = answers.next().await {
            let first = answer.map(|answer| answer.items.first().map(|todo: &Todo| todo.id.clone()));
            if told.send((first, Instant::now())).is_err() {
                return;
            }
        }
    });
    heard.recv().await.ok_or("the live query ended")?.0?;
    let mut random = Generator::new(7);
    let mut samples = Vec::new();
    for round in 0..500 {
        let mut changed = todo(random.below(records));
        changed.owner = owner(7);
        changed.done = false;
        changed.updated_at = 1_800_000_000_000 + round;
        store.enqueue_update(&scope(), &changed).await?;
        let written = Instant::now();
        loop {
            let (first, at) = heard.recv().await.ok_or("the live query ended")?;
            if first?.as_ref() == Some(&changed.id) {
                samples.push(at.saturating_duration_since(written).as_secs_f64() * 1e6);
                break;
            }
        }
    }
    subscriber.abort();
    latencies(&run.system, "W7", "", samples);
    Ok(())
}

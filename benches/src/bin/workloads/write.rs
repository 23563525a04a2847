//! Local writes.

use std::{sync::Arc, time::Instant};

use sync_core::{SimpleSyncOrchestrator, Write};

use crate::{
    Failure, PAGE, Run, number, open,
    records::{Todo, todos},
    remote::Pages,
    remove_old,
    report::{figure, latencies, micros},
    scope,
};

/// W1: single creates, each acknowledged when it is durable.
pub(crate) async fn creates(run: &Run<'_>) -> Result<(), Failure> {
    remove_old(run).await?;
    let store = open::<Todo>(run, Arc::new(Pages::new(0))).await?;
    let records = todos(0..number(10_000));
    let count = records.len();
    let share = count.div_ceil(run.writers);
    let started = Instant::now();
    let samples = if run.writers == 1 {
        write_all(&store, &records).await?
    } else {
        let tasks = records.chunks(share).map(|records| {
            let (store, records) = (store.clone(), records.to_vec());
            tokio::spawn(async move { write_all(&store, &records).await })
        });
        let mut samples = Vec::with_capacity(count);
        for task in tasks.collect::<Vec<_>>() {
            samples.extend(task.await??);
        }
        samples
    };
    let rate = count as f64 / started.elapsed().as_secs_f64();
    figure(&run.system, "W1", "", "ops/s", rate);
    latencies(&run.system, "W1", "", samples);
    Ok(())
}

async fn write_all(store: &SimpleSyncOrchestrator<Todo>, records: &[Todo]) -> sync_core::Result<Vec<f64>> {
    let mut samples = Vec::with_capacity(records.len());
    for record in records {
        let started = Instant::now();
        store.enqueue_create(&scope(), record).await?;
        samples.push(micros(started));
    }
    Ok(samples)
}

/// W10: what the queue adds to the writing of rows.
pub(crate) async fn capture(run: &Run<'_>) -> Result<(), Failure> {
    remove_old(run).await?;
    let count = number(20_000);
    let remote = Pages::ready(count, PAGE, &run.path.with_extension("pages"))?;
    let store = open::<Todo>(run, Arc::new(remote)).await?;
    let started = Instant::now();
    store.pull_only(&scope()).await?;
    let plain = micros(started) / f64::from(count);
    drop(store);
    remove_old(run).await?;
    let store = open::<Todo>(run, Arc::new(Pages::new(0))).await?;
    let records = todos(0..count);
    let started = Instant::now();
    for records in records.chunks(1_000) {
        let writes: sync_core::Result<Vec<_>> = records
            .iter()
            .map(|record| Write::create(&scope(), record))
            .collect();
        store.engine().write_batch(writes?).await?;
    }
    let queued = micros(started) / f64::from(count);
    figure(&run.system, "W10", "batched pulled", "us/row", plain);
    figure(&run.system, "W10", "batched written and queued", "us/row", queued);
    figure(&run.system, "W10", "batched ratio", "x", queued / plain);
    Ok(())
}

//! The queue of pending operations.

use std::{sync::Arc, time::Instant};

use sync_core::{SimpleSyncOrchestrator, Write};

use crate::{
    Failure, Run, number, open,
    records::{Todo, todos},
    remote::Pages,
    remove_old,
    report::{figure, micros, quantile},
    scope,
};

/// Enqueues creates of these records.
pub(crate) async fn fill(
    store: &SimpleSyncOrchestrator<Todo>,
    numbers: std::ops::Range<u32>,
) -> Result<(), Failure> {
    for from in numbers.clone().step_by(1_000) {
        let records = todos(from..numbers.end.min(from + 1_000));
        let writes: sync_core::Result<Vec<_>> = records
            .iter()
            .map(|record| Write::create(&scope(), record))
            .collect();
        store.engine().write_batch(writes?).await?;
    }
    Ok(())
}

/// W4: pushing a queue to a remote that takes everything.
pub(crate) async fn drain(run: &Run<'_>) -> Result<(), Failure> {
    for (batch, name) in [(100, ""), (1, " (ack 1 by 1)")] {
        remove_old(run).await?;
        let store = open::<Todo>(run, Arc::new(Pages::with_push_batch(0, batch))).await?;
        let count = number(10_000);
        fill(&store, 0..count).await?;
        let started = Instant::now();
        let report = store.push_only(&scope()).await?;
        let rate = f64::from(count) / started.elapsed().as_secs_f64();
        if report.pushed != u64::from(count) {
            return Err(format!("{} of {count} operations were pushed", report.pushed).into());
        }
        figure(&format!("{}{name}", run.system), "W4", "", "ops/s", rate);
    }
    Ok(())
}

/// W9: a write behind a long queue against one behind none, in tables of the same size.
pub(crate) async fn append(run: &Run<'_>) -> Result<(), Failure> {
    let pending = number(100_000);
    let mut medians = Vec::new();
    for (name, push) in [("empty p50", true), ("100k p50", false)] {
        remove_old(run).await?;
        let store = open::<Todo>(run, Arc::new(Pages::with_push_batch(0, 1_000))).await?;
        fill(&store, 0..pending).await?;
        if push {
            store.push_only(&scope()).await?;
        }
        let mut samples = Vec::new();
        for record in todos(200_000..202_000) {
            let started = Instant::now();
            store.enqueue_create(&scope(), &record).await?;
            samples.push(micros(started));
        }
        let median = quantile(&mut samples, 0.5);
        figure(&run.system, "W9", name, "us", median);
        medians.push(median);
    }
    figure(&run.system, "W9", "ratio", "x", medians[1] / medians[0]);
    Ok(())
}

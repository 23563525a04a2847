//! Pulls.

use std::{sync::Arc, time::Instant};

use sync_core::CachePolicy;

use crate::{
    Failure, PAGE, Run, filled, open,
    records::{Generator, Todo, todo},
    remote::Pages,
    remove_old,
    report::{figure, latencies, memory_now, memory_peak, micros},
    scope,
};

/// W2: the first pull. The pages are made before it.
pub(crate) async fn first(run: &Run<'_>, records: u32) -> Result<(), Failure> {
    remove_old(run).await?;
    let remote = Arc::new(Pages::ready(records, PAGE, &run.path.with_extension("pages"))?);
    let store = open::<crate::records::PlainTodo>(run, remote).await?;
    let memory = memory_now();
    let started = Instant::now();
    store.pull_only(&scope()).await?;
    let time = started.elapsed();
    let workload = if records >= 1_000_000 { "W2-1M" } else { "W2" };
    let rate = f64::from(records) / time.as_secs_f64();
    figure(&run.system, workload, "", "rows/s", rate);
    figure(&run.system, workload, "peakRSS", "MiB", memory_peak());
    figure(&run.system, workload, "RSSgrowth", "MiB", memory_peak() - memory);
    let pulled = store.count(&scope(), None, CachePolicy::OfflineOnly).await?;
    if pulled != u64::from(records) {
        return Err(format!("{pulled} of {records} records are there").into());
    }
    Ok(())
}

/// W3: a whole synchronization for one change, and a read of it.
pub(crate) async fn one_change(run: &Run<'_>) -> Result<(), Failure> {
    let records = 100_000;
    let (store, remote) = filled::<Todo>(run, records).await?;
    let mut random = Generator::new(3);
    let mut samples = Vec::new();
    for round in 0..200 {
        let mut changed = todo(random.below(records));
        changed.title = format!("changed remotely {round}");
        remote.change(&changed)?;
        let started = Instant::now();
        store.pull_only(&scope()).await?;
        let found = store.get(&scope(), &changed.id, CachePolicy::OfflineOnly).await?;
        samples.push(micros(started));
        if found.as_ref() != Some(&changed) {
            return Err("the change is not there".into());
        }
    }
    latencies(&run.system, "W3", "", samples);
    Ok(())
}

//! Synchronizing over a network that loses, repeats and delays, until there is nothing left to say.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use sync_core::{RetryClass, SyncReport};

use crate::{
    device::Device,
    failure::Failure,
    story::{ProgressLine, Story},
    tally::Progress,
};

/// How often a device synchronizes before it is taken to never come to rest.
const MAX_ATTEMPTS: u32 = 2_000;
/// The pause after a failure, or while the remote has asked for one.
const PAUSE: Duration = Duration::from_millis(25);

/// Synchronizes one device over a good network.
pub(crate) async fn once(
    device: &mut Device,
    what: &'static str,
    total: u64,
    story: &Story,
) -> Result<(), Failure> {
    let mut line = story.progress(what, Some(total));
    let mut position = 0;
    while attempt(device, &mut line, &mut position).await?.is_none() {}
    line.end();
    Ok(())
}

/// Synchronizes both devices in turns, until neither has anything to send or to hear.
pub(crate) async fn until_quiet(devices: &mut [Device; 2], story: &Story) -> Result<(), Failure> {
    let mut expected = 0;
    for device in devices.iter() {
        // Every write is pushed by one device and pulled by the other.
        expected += 2 * device.pending().await?;
    }
    let mut line = story.progress("synchronizing", Some(expected));
    let mut position = 0;
    for _ in 0..MAX_ATTEMPTS {
        let mut quiet = true;
        for device in devices.iter_mut() {
            let report = attempt(device, &mut line, &mut position).await?;
            let moved = report.is_none_or(|report| report.pushed + report.pulled > 0);
            let waiting = device.pending().await? > 0;
            quiet &= !moved && !waiting;
            if !moved && waiting {
                tokio::time::sleep(PAUSE).await;
            }
        }
        if quiet {
            line.end();
            return Ok(());
        }
    }
    let mut restless = (devices[0].name, devices[0].pending().await?);
    if restless.1 == 0 {
        restless = (devices[1].name, devices[1].pending().await?);
    }
    Err(Failure::Restless {
        device: restless.0,
        attempts: MAX_ATTEMPTS,
        pending: restless.1,
    })
}

/// Synchronizes once and takes what happened into the tally. `None` if it failed and is to be repeated.
async fn attempt(
    device: &mut Device,
    line: &mut ProgressLine,
    position: &mut u64,
) -> Result<Option<Arc<SyncReport>>, Failure> {
    let started = std::time::Instant::now();
    let mut events = device.engine.events();
    let mut progress = Progress::default();
    let result = {
        let mut synchronization = std::pin::pin!(device.engine.synchronize(device.scope()));
        loop {
            tokio::select! {
                biased;
                Some(event) = events.next() => {
                    progress.take(&event);
                    line.at(*position + progress.pushed + progress.pulled);
                }
                result = &mut synchronization => break result,
            }
        }
    };
    while let Some(Some(event)) = events.next().now_or_never() {
        progress.take(&event);
    }
    *position += progress.pushed + progress.pulled;
    device.tally.time += started.elapsed();
    match result {
        Ok(report) => {
            device.tally.add(&report);
            Ok(Some(report))
        }
        Err(error) if matches!(error.retry(), RetryClass::Backoff | RetryClass::After(_)) => {
            device.tally.add_failed(&progress);
            tokio::time::sleep(PAUSE).await;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

//! What a sync and a write cost follows what changed, not what is stored.

use std::{ops::Range, time::Duration};

use super::{
    lab::{Lab, Probe, payload},
    world::{key, scope, todo},
};

fn fill(lab: &Lab, numbers: Range<usize>) {
    for n in numbers {
        let id = format!("{n:05}");
        lab.remote.put(&key(&id), payload(&id, "filled"));
    }
}

/// A device that has pulled so many records.
async fn device_with(lab: &Lab, records: usize) -> Probe {
    fill(lab, 0..records);
    let device = lab.device().await;
    device.sync().await;
    device.hooks.take_rows();
    device
}

#[tokio::test]
async fn a_sync_of_one_change_touches_as_many_rows_in_a_large_store_as_in_a_small_one() {
    let mut costs = Vec::new();
    for records in [10, 5_000] {
        let lab = Lab::new();
        let device = device_with(&lab, records).await;
        fill(&lab, 0..1);
        let report = device.sync().await;
        assert_eq!(report.pulled, 1);
        device.rename("00001", "edited").await;
        assert_eq!(device.sync().await.pushed, 1);
        costs.push((device.hooks.take_rows(), report.requests));
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn a_write_touches_as_many_rows_behind_a_long_queue_as_behind_none() {
    let lab = Lab::new();
    let device = lab.device().await;
    let mut costs = Vec::new();
    for queue in [0, 2_000] {
        for n in 0..queue {
            device.create(&format!("queued-{n}"), "waits").await;
        }
        device.hooks.take_rows();
        let written = todo(&format!("behind-{queue}"), "new");
        device.todos.enqueue_create(&scope(), &written).await.unwrap();
        costs.push(device.hooks.take_rows());
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn an_empty_sync_touches_no_row() {
    let lab = Lab::new();
    let device = device_with(&lab, 1_000).await;
    device.sync().await;
    assert_eq!(device.hooks.take_rows(), 0);
}

#[tokio::test]
async fn a_remote_that_cannot_refuse_a_write_is_pulled_again_only_if_something_was_sent() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let device = device_with(&lab, 3).await;
    device.sync().await;
    assert_eq!(device.sync().await.requests, 1);
    device.rename("00001", "edited").await;
    let report = device.sync().await;
    // Two pulls, the push, and the look at the record before it.
    assert_eq!((report.pushed, report.requests), (1, 4));
}

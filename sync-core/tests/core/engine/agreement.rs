//! What all replicas end with does not depend on who synchronizes when.

use std::time::Duration;

use proptest::prelude::*;
use sync_core::{EngineOptions, resolve::LastWriteWins};

use super::{
    lab::{Lab, NeverAsked, Probe},
    world::{remote_titles, titles},
};

/// Writes on three devices that know of each other's first record only, one second apart.
async fn write(lab: &Lab, devices: &[Probe; 3]) {
    let [a, b, c] = devices;
    a.create("shared", "first").await;
    a.create("gone", "first").await;
    for device in devices {
        device.sync().await;
    }
    for step in 0..6 {
        lab.pass(Duration::from_secs(1));
        match step {
            0 => a.rename("shared", "by a").await,
            1 => b.delete("shared").await,
            2 => a.delete("gone").await,
            3 => b.rename("gone", "by b").await,
            4 => c.rename("shared", "by c").await,
            _ => c.delete("gone").await,
        }
    }
}

// L2, L3: an extra sync, or another order of them, ended in another value.
#[tokio::test]
async fn every_order_of_syncing_ends_with_the_latest_writes() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for first in orders {
        for second in orders {
            let lab = Lab::new();
            let devices = [lab.device().await, lab.device().await, lab.device().await];
            write(&lab, &devices).await;
            for at in first.into_iter().chain(second).chain(first) {
                devices[at].sync().await;
            }
            assert_eq!(
                remote_titles(&lab.remote),
                titles([("shared", "by c")]),
                "{first:?} {second:?}"
            );
            for device in &devices {
                assert_eq!(
                    device.titles().await,
                    titles([("shared", "by c")]),
                    "{first:?} {second:?}"
                );
                assert_eq!(device.pending().await, 0);
            }
        }
    }
}

// L5: found by fuzzing (189 of 20000 runs): a write that changes nothing lost against an older one.
#[tokio::test]
async fn a_write_without_difference_still_counts_as_the_latest() {
    for delete in [true, false] {
        let lab = Lab::new();
        let (a, b) = (lab.device().await, lab.device().await);
        a.create("1", "tea").await;
        a.sync().await;
        b.sync().await;
        lab.pass(Duration::from_secs(1));
        b.rename("1", "by b").await;
        lab.pass(Duration::from_secs(1));
        if delete {
            a.delete("1").await;
            lab.pass(Duration::from_secs(1));
            a.delete("1").await;
        } else {
            a.rename("1", "tea").await;
        }
        for device in [&b, &a, &b, &a] {
            device.sync().await;
        }
        let expected = if delete {
            titles([])
        } else {
            titles([("1", "tea")])
        };
        for device in [&a, &b] {
            assert_eq!(device.titles().await, expected);
        }
        assert_eq!(remote_titles(&lab.remote), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    // L10: the resolver was asked about changes that followed each other.
    #[test]
    fn traces_without_concurrent_changes_never_ask_the_resolver(
        steps in proptest::collection::vec((0..3_usize, 0..3_usize, 0..3_u8), 1..30)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let lab = Lab::new();
            let mut devices = Vec::new();
            for _ in 0..3 {
                let device = lab.device_with(NeverAsked, EngineOptions::default().with_page_size(2)).await;
                // The first pull of an empty device leaves tombstones out, and with them their stamps.
                device.sync().await;
                devices.push(device);
            }
            for (number, (at, id, what)) in steps.into_iter().enumerate() {
                // Each change is made with all earlier ones known, whatever the clocks say.
                lab.time.clock.jump(if number % 2 == 0 { -60_000_000 } else { 50_000_000 });
                let device = &devices[at];
                device.sync().await;
                let (id, title) = (["1", "2", "3"][id], format!("write {number}"));
                match (device.titles().await.contains_key(id), what) {
                    (false, _) => device.create(id, &title).await,
                    (true, 0) => device.delete(id).await,
                    (true, _) => device.rename(id, &title).await,
                }
                device.sync().await;
            }
            for device in &devices {
                device.sync().await;
                assert_eq!(device.titles().await, remote_titles(&lab.remote));
                assert_eq!(device.pending().await, 0, "a panic of the resolver parks");
                let history = device.engine().conflicts(&Default::default()).await.unwrap();
                assert!(history.is_empty());
            }
        });
    }
}

// P16: a foreign stamp far in the future is not adopted, and does not win for ever.
#[tokio::test]
async fn a_device_from_the_future_does_not_spoil_the_clock_of_the_others() {
    let lab = Lab::new();
    let a = lab.device_with(LastWriteWins, EngineOptions::default()).await;
    let far = sync_core::Stamp::new(u64::MAX, 0, 9);
    lab.remote.put_stamped(
        &super::world::key("1"),
        super::lab::payload("1", "from the future"),
        far,
    );
    a.sync().await;
    a.rename("1", "mine").await;
    assert!(a.ops().await[0].stamp < far);
    a.sync().await;
    assert_eq!(
        remote_titles(&lab.remote),
        titles([("1", "mine")]),
        "it follows what it saw"
    );
}

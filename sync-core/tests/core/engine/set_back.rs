//! Wall clocks that are set back: nothing waits for as long as the clock was set back.

use std::{collections::BTreeSet, time::Duration};

use adapter_memory::faults::{Call, Fault};
use sync_core::{ChangeSet, LocalStore, OpChange, PendingOp};

use super::{
    lab::{Lab, payload},
    world::{key, remote_titles, scope, titles},
};

const DAY_MICROS: i64 = 24 * 3_600 * 1_000_000;

#[tokio::test]
async fn an_operation_that_waits_to_be_sent_again_is_sent() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.create("1", "tea").await;
    a.create("2", "milk").await;
    a.faults()
        .script(Call::Push, Fault::RetryOps(BTreeSet::from([0, 1])));
    a.todos.push_only(&scope()).await.unwrap();
    assert_eq!(a.pending().await, 2, "both wait");
    lab.time.clock.jump(-DAY_MICROS);
    a.sync().await;
    assert_eq!(a.pending().await, 0);
    assert_eq!(remote_titles(&lab.remote), titles([("1", "tea"), ("2", "milk")]));
}

#[tokio::test]
async fn a_pause_that_the_remote_asked_for_is_kept_however_long_it_is() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.create("1", "tea").await;
    let op = PendingOp {
        next_attempt_at: lab.now().plus(Duration::from_secs(7_200)),
        ..a.ops().await.remove(0)
    };
    let mut changes = ChangeSet::at(lab.now());
    changes.ops.push(OpChange::Replace(op));
    a.store.commit(changes).await.unwrap();
    lab.pass(Duration::from_secs(3_600));
    a.sync().await;
    assert_eq!(a.pending().await, 1, "not before the pause has passed");
    lab.pass(Duration::from_secs(3_601));
    a.sync().await;
    assert_eq!(a.pending().await, 0);
}

#[tokio::test]
async fn the_next_sweep_does_not_wait_for_the_clock() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(5)));
    let a = lab.device().await;
    lab.remote.put(&key("1"), payload("1", "tea"));
    a.sync().await;
    lab.remote.vanish(&key("1"));
    lab.time.clock.jump(-DAY_MICROS * 30);
    a.sync().await;
    assert_eq!(a.titles().await, titles([]));
}

//! Faults of single calls: scripted and drawn at random.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use adapter_memory::{
    MemoryRemoteStore,
    faults::{Call, Fault, FaultRates},
};
use async_trait::async_trait;
use sync_core::{ErrorKind, PushOutcome, RemoteStore, Timer, query::QuerySpec};

use crate::common::*;

#[test]
fn a_request_that_fails_before_has_no_effect_and_is_not_seen() {
    let remote = MemoryRemoteStore::new();
    remote
        .faults()
        .script(Call::Push, Fault::FailBefore(error(ErrorKind::RateLimited)));
    let failed = push(&remote, vec![create(1, "a")]).unwrap_err();
    assert_eq!(
        (failed.kind(), failed.operation()),
        (ErrorKind::RateLimited, Some("push"))
    );
    assert_eq!(
        (failed.adapter(), failed.scope()),
        (Some("memory"), Some("inbox"))
    );
    assert!(remote.dump(&target()).is_empty() && remote.push_log().is_empty());
    applied(&remote, create(1, "a"));
}

#[test]
fn a_request_whose_answer_is_lost_had_its_effect() {
    let remote = MemoryRemoteStore::new();
    remote
        .faults()
        .script(Call::Push, Fault::FailAfter(error(ErrorKind::Timeout)));
    assert_eq!(kind(push(&remote, vec![create(1, "a")])), ErrorKind::Timeout);
    assert_eq!(
        (remote.dump(&target()).len(), remote.applied_count(op_id(1))),
        (1, 1)
    );
    assert!(matches!(
        outcome(&remote, create(1, "a")),
        PushOutcome::Duplicate { .. }
    ));
}

#[test]
fn every_kind_of_call_can_fail() {
    let remote = MemoryRemoteStore::new();
    let spec = QuerySpec::new();
    let calls = [
        Call::Pull,
        Call::Push,
        Call::Get,
        Call::ListIds,
        Call::Search,
        Call::ServerTime,
        Call::Subscribe,
    ];
    for call in calls {
        remote
            .faults()
            .script(call, Fault::FailBefore(error(ErrorKind::Server)));
        remote
            .faults()
            .script(call, Fault::FailAfter(error(ErrorKind::Malformed)));
    }
    for expected in [Some(ErrorKind::Server), Some(ErrorKind::Malformed), None] {
        let got = [
            pull(&remote, None, 1).err(),
            push(&remote, vec![]).err(),
            block_on(remote.get(&target(), &[])).err(),
            block_on(remote.list_ids(&target(), None, 1)).err(),
            block_on(remote.search(&target(), &spec)).err(),
            block_on(remote.server_time()).err(),
            block_on(remote.subscribe(&scope("inbox"))).err(),
        ];
        assert_eq!(got.map(|error| error.map(|error| error.kind())), [expected; 7]);
    }
}

/// Notes how long was slept, and ends at once.
#[derive(Debug, Default)]
struct NotingTimer(Mutex<Vec<Duration>>);

#[async_trait]
impl Timer for NotingTimer {
    async fn sleep(&self, duration: Duration) {
        self.0.lock().unwrap().push(duration);
    }
}

#[test]
fn a_delay_waits_on_the_injected_timer() {
    let timer = Arc::new(NotingTimer::default());
    let remote = MemoryRemoteStore::builder().timer(timer.clone()).build();
    remote
        .faults()
        .script(Call::Push, Fault::Delay(Duration::from_secs(90)));
    applied(&remote, create(1, "a"));
    assert_eq!(*timer.0.lock().unwrap(), [Duration::from_secs(90)]);
    let without = MemoryRemoteStore::new();
    without
        .faults()
        .script(Call::Push, Fault::Delay(Duration::from_secs(90)));
    assert_eq!(kind(push(&without, vec![])), ErrorKind::Configuration);
}

#[test]
fn a_doubled_push_is_harmless_only_with_idempotency() {
    let strong = MemoryRemoteStore::new();
    strong.faults().script(Call::Push, Fault::Duplicate);
    assert!(matches!(
        outcome(&strong, create(1, "a")),
        PushOutcome::Duplicate { .. }
    ));
    assert_eq!((strong.applied_count(op_id(1)), strong.push_log().len()), (1, 2));
    let weak = MemoryRemoteStore::builder()
        .adjust(|can| can.idempotent_push = false)
        .build();
    weak.faults().script(Call::Push, Fault::Duplicate);
    assert!(
        matches!(outcome(&weak, create(1, "a")), PushOutcome::Conflict { .. }),
        "with its own first effect"
    );
}

#[test]
fn an_old_push_that_arrives_again_overwrites_only_a_weak_remote() {
    for (strong, expected) in [(true, n(2)), (false, n(1))] {
        let builder = MemoryRemoteStore::builder()
            .adjust(|can| (can.idempotent_push, can.conditional_write) = (strong, strong));
        let remote = builder.build();
        applied(&remote, create(1, "a"));
        applied(&remote, update(2, "a", None));
        assert!(remote.redeliver(0).unwrap().is_ok());
        assert_eq!(remote.state_of(&key("a")).payload(), Some(&expected));
        assert!(remote.redeliver(99).is_none());
    }
    let remote = MemoryRemoteStore::builder().snapshot_profile().build();
    applied(&remote, create(1, "a"));
    applied(&remote, update(2, "a", None));
    remote
        .faults()
        .script(Call::Pull, Fault::Redeliver { steps_back: 1 });
    let page = pull(&remote, None, 10).unwrap();
    assert_eq!(
        page.changes[0].state.payload(),
        Some(&n(1)),
        "it arrived right before the pull"
    );
}

#[test]
fn parts_of_a_batch_fail() {
    let remote = MemoryRemoteStore::new();
    let names = |outcomes: &[PushOutcome]| outcomes.iter().map(PushOutcome::name).collect::<Vec<_>>();
    let batch = || vec![create(1, "a"), create(2, "b"), create(3, "c")];
    remote
        .faults()
        .script(Call::Push, Fault::RetryOps(BTreeSet::from([0, 2])));
    assert_eq!(
        names(&push(&remote, batch()).unwrap()),
        ["retry", "applied", "retry"]
    );
    remote
        .faults()
        .script(Call::Push, Fault::RejectIds(BTreeSet::from([id("c")])));
    let outcomes = push(&remote, batch()).unwrap();
    assert_eq!(names(&outcomes), ["applied", "duplicate", "rejected"]);
    assert!(matches!(&outcomes[2], PushOutcome::Rejected { code, .. } if code == "refused"));
    remote
        .faults()
        .script(Call::Push, Fault::RetryOps(BTreeSet::from([0])));
    let atomic = push_atomic(&remote, vec![create(4, "d"), create(5, "e")]).unwrap();
    assert_eq!(names(&atomic), ["retry", "retry"]);
    assert_eq!(remote.dump(&target()).len(), 2);
}

#[test]
fn a_page_is_capped_and_says_that_there_is_more() {
    let remote = MemoryRemoteStore::new();
    remote.seed(
        &scope("inbox"),
        &target().collection,
        ["a", "b", "c"].map(|name| (id(name), n(1))),
    );
    remote.faults().script(Call::Pull, Fault::PageCap(1));
    let page = pull(&remote, None, 10).unwrap();
    assert_eq!((told(&page), page.has_more), (vec!["a".into()], true));
    let rest = pull(&remote, Some(&page.next), 10).unwrap();
    assert_eq!(
        (told(&rest), rest.has_more),
        (vec!["b".into(), "c".into()], false)
    );
}

#[test]
fn a_good_cursor_can_be_refused() {
    let remote = MemoryRemoteStore::new();
    let point = caught_up(&remote);
    remote.faults().script(Call::Pull, Fault::ExpireCursor);
    assert_eq!(kind(pull(&remote, Some(&point), 10)), ErrorKind::ResyncRequired);
    assert!(pull(&remote, Some(&point), 10).is_ok());
    remote.faults().script(Call::Pull, Fault::ExpireCursor);
    assert!(
        pull(&remote, None, 10).is_ok(),
        "without a cursor there is nothing to refuse"
    );
}

#[test]
fn scripted_faults_come_in_order_and_end_with_calm() {
    let remote = MemoryRemoteStore::new();
    let faults = remote.faults();
    for fault in [
        Fault::Pass,
        Fault::FailBefore(error(ErrorKind::Server)),
        Fault::FailBefore(error(ErrorKind::Full)),
    ] {
        faults.script(Call::Pull, fault);
    }
    assert!(pull(&remote, None, 1).is_ok());
    assert_eq!(kind(pull(&remote, None, 1)), ErrorKind::Server);
    assert_eq!(faults.scripted(Call::Pull), 1);
    faults.calm();
    assert!(pull(&remote, None, 1).is_ok());
}

#[test]
fn faults_are_those_of_one_client() {
    let remote = MemoryRemoteStore::new();
    let other = remote.another_client();
    remote
        .faults()
        .script(Call::Push, Fault::FailBefore(error(ErrorKind::Server)));
    remote.expire_token();
    applied(&other, create(1, "a"));
    assert_eq!(kind(push(&remote, vec![])), ErrorKind::Server);
    assert_eq!(kind(push(&remote, vec![])), ErrorKind::Unauthenticated);
    remote.sign_in();
    assert_eq!(
        told(&pull(&remote, None, 10).unwrap()),
        ["a"],
        "both see one backend"
    );
}

#[test]
fn an_expired_token_is_never_an_empty_answer() {
    let remote = MemoryRemoteStore::new();
    remote.expire_token();
    let got = [
        pull(&remote, None, 1).err(),
        push(&remote, vec![create(1, "a")]).err(),
        block_on(remote.get(&target(), &[id("a")])).err(),
        block_on(remote.list_ids(&target(), None, 1)).err(),
        block_on(remote.search(&target(), &QuerySpec::new())).err(),
        block_on(remote.server_time()).err(),
        block_on(remote.subscribe(&scope("inbox"))).err(),
    ];
    assert_eq!(
        got.map(|error| error.map(|error| error.kind())),
        [Some(ErrorKind::Unauthenticated); 7]
    );
    assert!(remote.push_log().is_empty());
}

/// One letter for what became of each of 400 pushes and pulls.
fn random_history(seed: u64, rates: FaultRates) -> String {
    let timer = Arc::new(NotingTimer::default());
    let remote = MemoryRemoteStore::builder().timer(timer.clone()).build();
    remote.faults().randomize(seed, rates);
    let mut point = None;
    let letters = (0..400_u32).map(|step| {
        let slept = timer.0.lock().unwrap().len();
        let seen = remote.push_log().len();
        let letter = if step % 2 == 0 {
            let ops = (0..4).map(|place| create(u128::from(step * 4 + place), &format!("r{step}-{place}")));
            let result = push(&remote, ops.collect());
            let seen = remote.push_log().len() - seen;
            match result {
                Err(_) if seen == 0 => 'b',
                Err(_) => 'a',
                Ok(outcomes) if outcomes.iter().any(|outcome| outcome.name() == "retry") => 'p',
                Ok(outcomes) if outcomes.iter().any(|outcome| outcome.name() == "duplicate") => 'd',
                Ok(_) if seen == 2 => 'o',
                Ok(_) => '.',
            }
        } else {
            match pull(&remote, point.as_ref(), 100) {
                Err(error) if error.kind() == ErrorKind::ResyncRequired => 'x',
                Err(_) => 'e',
                Ok(page) => {
                    point = Some(page.next);
                    if page.has_more { 'c' } else { '.' }
                }
            }
        };
        if timer.0.lock().unwrap().len() > slept {
            's'
        } else {
            letter
        }
    });
    letters.collect()
}

#[test]
fn random_faults_of_every_kind_strike_and_equal_seeds_give_equal_histories() {
    let rates = FaultRates {
        fail_before: 0.1,
        fail_after: 0.1,
        delay: 0.1,
        max_delay: Duration::from_secs(1),
        duplicate: 0.1,
        redeliver: 0.1,
        retry_ops: 0.1,
        page_cap: 0.1,
        expire_cursor: 0.1,
        ..FaultRates::default()
    };
    let history = random_history(7, rates);
    assert_eq!(history, random_history(7, rates));
    assert_ne!(history, random_history(8, rates));
    for letter in "bapdoxecs.".chars() {
        assert!(history.contains(letter), "{letter} is not in {history}");
    }
    let calm = random_history(7, FaultRates::default());
    assert!(calm.chars().all(|letter| letter == '.'), "{calm}");
}

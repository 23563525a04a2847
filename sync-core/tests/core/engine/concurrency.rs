//! Several engines on one store, as in several processes on one file.

use std::time::Duration;

use sync_core::{
    CacheLimits, Clock, EngineOptions, ErrorKind, LeaseAnswer, LocalStore, OpState, ReadOptions,
    query::QuerySpec, resolve::LastWriteWins,
};
use uuid::Uuid;

use super::{
    hooks::Moment,
    lab::{Lab, NeverAsked, Probe, payload},
    steps::Steps,
    world::{key, remote_titles, scope, titles},
};

fn two_engines(lab: &Lab, steps: &Steps) -> (Probe, Probe) {
    let first = steps.run(lab.device());
    let store = first.store.reopen();
    let second = steps.run(lab.open(store, LastWriteWins, EngineOptions::default()));
    (first, second)
}

// Trap 28: broadcast-channel#385: two tabs pushed the same queue.
#[test]
fn two_engines_on_one_store_push_each_operation_once() {
    let steps = Steps::default();
    let lab = Lab::stepping(&steps);
    let (a, b) = two_engines(&lab, &steps);
    for n in 0..5 {
        steps.run(a.create(&format!("a{n}"), "from a"));
        steps.run(b.create(&format!("b{n}"), "from b"));
        lab.remote
            .put(&key(&format!("r{n}")), payload(&format!("r{n}"), "theirs"));
    }
    let (first, second) = lab.run_as_time_passes(&steps, futures::future::join(a.sync(), b.sync()));
    assert_eq!(first.pushed + second.pushed, 10);
    assert_eq!(first.duplicates + second.duplicates, 0);
    let sent: usize = lab.remote.push_log().iter().map(|batch| batch.ops.len()).sum();
    assert_eq!(sent, 10, "each was sent once");
    assert_eq!(steps.run(a.titles()), remote_titles(&lab.remote));
    assert_eq!(steps.run(b.pending()), 0);
}

// P12: requests that arrive while one is under way share the next.
#[test]
fn many_requests_make_two_syncs() {
    let steps = Steps::default();
    let lab = Lab::stepping(&steps);
    let a = steps.run(lab.device());
    steps.run(a.create("1", "tea"));
    // RCS-19: ten quick writes made ten syncs that pushed the same operations.
    let all = futures::future::join_all((0..10).map(|_| a.sync()));
    let reports = steps.run(all);
    let requests: std::collections::BTreeSet<_> = reports
        .iter()
        .map(|report| std::sync::Arc::as_ptr(report) as usize)
        .collect();
    assert!(requests.len() <= 2, "{} syncs", requests.len());
    assert_eq!(lab.remote.push_log().len(), 1);
}

#[test]
fn a_request_that_joins_one_that_waits_gets_all_that_it_asked_for() {
    let steps = Steps::default();
    let lab = Lab::stepping(&steps);
    let a = steps.run(lab.device());
    let (wake, woken) = futures::channel::oneshot::channel::<()>();
    a.hooks.once(Moment::AfterPull, || async move {
        let _ = woken.await;
    });
    let inbox = scope();
    let mut running = Box::pin(a.todos.pull_only(&inbox));
    assert!(steps.run_for(500, &mut running).is_none(), "it sleeps");
    steps.run(a.create("1", "tea"));
    lab.remote.put(&key("2"), payload("2", "milk"));
    let both = async { futures::join!(a.todos.pull_only(&inbox), a.todos.push_only(&inbox)) };
    let mut both = Box::pin(both);
    assert!(steps.run_for(500, &mut both).is_none(), "both wait");
    wake.send(()).unwrap();
    steps.run(&mut running).unwrap();
    let (pulled, pushed) = steps.run(&mut both);
    assert_eq!((pulled.unwrap().pulled, pushed.unwrap().pushed), (1, 1));
}

// P12: the one who was taken for dead comes back in the middle of its sync.
#[test]
fn a_holder_that_lost_its_lease_commits_nothing_more() {
    // The last one falls between the look at the lease and the commit: only the fence tells.
    for moment in [
        Moment::AfterPush,
        Moment::BeforePush,
        Moment::AfterPull,
        Moment::BeforePageCommit,
    ] {
        let (steps, others) = (Steps::default(), Steps::default());
        let lab = Lab::stepping(&steps);
        let sleeper = steps.run(lab.device());
        let heir = others.run(lab.open_on(&others, sleeper.store.reopen()));
        steps.run(sleeper.create("1", "tea"));
        lab.remote.put(&key("r"), payload("r", "theirs"));
        let (wake, woken) = futures::channel::oneshot::channel::<()>();
        sleeper.hooks.once(moment, || async move {
            let _ = woken.await;
        });
        let inbox = scope();
        let mut sync = Box::pin(sleeper.todos.synchronize(&inbox));
        assert!(steps.run_for(500, &mut sync).is_none(), "{moment:?}: it sleeps");
        lab.pass(EngineOptions::default().lease_time + Duration::from_secs(1));
        others.run(heir.sync());
        others.run(heir.rename("1", "green tea"));
        lab.remote.put(&key("r"), payload("r", "newer"));
        others.run(heir.sync());
        let before = others.run(heir.titles());
        wake.send(()).unwrap();
        let error = steps.run(&mut sync).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::Timeout),
            "{moment:?}: {error}"
        );
        assert_eq!(others.run(heir.titles()), before, "{moment:?}");
        assert_eq!(before, titles([("1", "green tea"), ("r", "newer")]));
        assert!(
            others
                .run(heir.ops())
                .iter()
                .all(|op| op.state != OpState::InDoubt)
        );
        assert_eq!(remote_titles(&lab.remote), before, "{moment:?}");
    }
}

#[tokio::test]
async fn a_synchronization_that_takes_longer_than_a_lease_keeps_it() {
    let lab = Lab::new();
    let options = EngineOptions::default().with_page_size(1).with_commit_rows(1);
    let lease = options.lease_time;
    let a = lab.device_with(NeverAsked, options).await;
    for id in ["1", "2", "3", "4", "5"] {
        lab.remote.put(&key(id), payload(id, "theirs"));
        let (clock, store) = (lab.time.clock.clone(), a.store.clone());
        a.hooks.once(Moment::AfterPull, move || async move {
            clock.advance(lease / 3);
            let (name, other) = (format!("sync:{}", scope()), Uuid::from_u128(7));
            let asked = store.acquire_lease(&name, other, clock.now(), lease).await;
            let held = matches!(asked, Ok(LeaseAnswer::Held { .. }));
            assert!(held, "another process got it: {asked:?}");
        });
    }
    assert_eq!(a.sync().await.pulled, 5);
    assert_eq!(a.hooks.left(), 0);
}

// Simulator, seed 6104: the memory of a delete was to be given up, and waited for the lease; meanwhile another process
// pulled the record, which had come back. It was taken away, and no pull brought it again.
#[test]
fn a_record_that_comes_back_while_the_memory_of_its_delete_is_to_go_stays() {
    let (steps, others) = (Steps::default(), Steps::default());
    let lab = Lab::stepping(&steps);
    let a = steps.run(lab.device());
    let b = others.run(lab.open_on(&others, a.store.reopen()));
    for id in ["1", "2"] {
        lab.remote.put(&key(id), payload(id, "tea"));
    }
    others.run(b.sync());
    for id in ["1", "2"] {
        lab.remote.delete(&key(id));
    }
    others.run(b.sync());
    lab.remote.put(&key("1"), payload("1", "green tea"));
    lab.pass(Duration::from_secs(1));
    let (wake, woken) = futures::channel::oneshot::channel::<()>();
    b.hooks.once(Moment::BeforePull, || async move {
        let _ = woken.await;
    });
    let inbox = scope();
    let mut sync = Box::pin(b.todos.synchronize(&inbox));
    assert!(others.run_for(500, &mut sync).is_none(), "it has the lease");
    let limits = CacheLimits::default().with_tombstone_age(Duration::ZERO);
    let mut evicting = Box::pin(a.engine().set_cache_limits(&limits));
    assert!(
        steps.run_for(500, &mut evicting).is_none(),
        "it waits for the lease"
    );
    wake.send(()).unwrap();
    others.run(&mut sync).unwrap();
    lab.run_as_time_passes(&steps, evicting).unwrap();
    others.run(b.sync());
    assert_eq!(others.run(b.titles()), titles([("1", "green tea")]));
}

// Versions without an order do not tell that the hits of a search are older than what a push has brought meanwhile.
#[test]
fn hits_of_a_search_do_not_take_the_place_of_what_was_pushed_meanwhile() {
    let (steps, others) = (Steps::default(), Steps::default());
    let lab = Lab::stepping_over(&steps, |builder| {
        builder.timestamp_profile(Duration::from_secs(5))
    });
    let a = steps.run(lab.device());
    let b = others.run(lab.open_on(&others, a.store.reopen()));
    others.run(b.create("1", "tea"));
    others.run(b.sync());
    let (wake, woken) = futures::channel::oneshot::channel::<()>();
    a.hooks.once(Moment::AfterSearch, || async move {
        let _ = woken.await;
    });
    let (inbox, everything) = (scope(), QuerySpec::new());
    let options = ReadOptions::default().with_remote_eval();
    let mut search = Box::pin(a.todos.read_with(&inbox, &everything, options));
    assert!(
        steps.run_for(500, &mut search).is_none(),
        "the hits are on their way"
    );
    others.run(b.rename("1", "green tea"));
    let mut sync = Box::pin(b.todos.push_only(&inbox));
    let pushed_meanwhile = others.run_for(500, &mut sync).is_some();
    wake.send(()).unwrap();
    lab.run_as_time_passes(&steps, search).unwrap();
    if !pushed_meanwhile {
        lab.run_as_time_passes(&others, &mut sync).unwrap();
    }
    assert_eq!(others.run(b.titles()), titles([("1", "green tea")]));
}

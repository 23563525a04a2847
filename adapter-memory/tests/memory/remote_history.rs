//! What the administrator does: backups, access, the log.

use adapter_memory::MemoryRemoteStore;
use sync_core::{ErrorKind, PushOutcome, RemoteState, RemoteStore, query::QuerySpec};

use crate::common::*;

#[test]
fn a_restored_backup_holds_what_was_there_and_forgets_what_came_after() {
    let remote = MemoryRemoteStore::new();
    let before = applied(&remote, create(1, "a"));
    let backup = remote.backup();
    let after = applied(&remote, update(2, "a", Some(before.clone())));
    applied(&remote, create(3, "b"));
    remote.restore(&backup);
    let state = remote.state_of(&key("a"));
    assert_eq!(
        (state.payload(), state.version()),
        (Some(&n(1)), Some(&before)),
        "a state keeps its version"
    );
    assert_eq!(remote.state_of(&key("b")), RemoteState::Missing);
    assert!(matches!(
        outcome(&remote, create(1, "a")),
        PushOutcome::Duplicate { .. }
    ));
    let again = applied(&remote, update(2, "a", Some(before)));
    assert_ne!(
        again.token(),
        after.token(),
        "a version of the new epoch names another state"
    );
    assert!(after.is_older_than(&again));
    assert_eq!(
        remote.applied_count(op_id(2)),
        2,
        "once before and once after the restore"
    );
}

#[test]
fn a_revoked_scope_is_refused_in_every_call_and_others_are_not() {
    let remote = MemoryRemoteStore::new();
    applied(&remote, create(1, "a"));
    remote.set_access(&scope("inbox"), false);
    let got = [
        pull(&remote, None, 1).err(),
        push(&remote, vec![create(2, "b")]).err(),
        block_on(remote.get(&target(), &[id("a")])).err(),
        block_on(remote.list_ids(&target(), None, 1)).err(),
        block_on(remote.search(&target(), &QuerySpec::new())).err(),
        block_on(remote.subscribe(&scope("inbox"))).err(),
    ];
    assert_eq!(
        got.map(|error| error.map(|error| error.kind())),
        [Some(ErrorKind::ScopeRevoked); 6]
    );
    let elsewhere = sync_core::Target::new(target().collection, scope("elsewhere"));
    assert!(block_on(remote.get(&elsewhere, &[id("a")])).is_ok());
    remote.set_access(&scope("inbox"), true);
    assert_eq!(
        remote.dump(&target()).into_keys().collect::<Vec<_>>(),
        [id("a")],
        "nothing was lost or added"
    );
    assert!(pull(&remote, None, 1).is_ok());
}

#[test]
fn the_log_keeps_every_push_as_it_came() {
    let remote = MemoryRemoteStore::new();
    let batches = [vec![create(1, "a"), create(2, "b")], vec![], vec![create(1, "a")]];
    for ops in &batches {
        push(&remote, ops.clone()).unwrap();
    }
    assert_eq!(
        remote
            .push_log()
            .into_iter()
            .map(|batch| batch.ops)
            .collect::<Vec<_>>(),
        batches
    );
}

#[test]
fn stamps_of_other_clients_are_kept() {
    let remote = MemoryRemoteStore::new();
    remote.put_stamped(&key("a"), n(1), stamp(5));
    let page = pull(&remote, None, 10).unwrap();
    assert_eq!(page.changes[0].state.stamp(), Some(stamp(5)));
    remote.put(&key("a"), n(2));
    assert_eq!(
        remote.state_of(&key("a")).stamp(),
        None,
        "a writer without stamps leaves none"
    );
}

#[test]
fn the_servers_time_follows_its_clock_and_skew() {
    let (remote, clock) = with_clock(MemoryRemoteStore::builder());
    clock.set(1_000);
    remote.set_clock_skew(250);
    assert_eq!(block_on(remote.server_time()).unwrap().as_micros(), 1_000_250);
    let PushOutcome::Applied { server_time, .. } = outcome(&remote, create(1, "a")) else {
        panic!("must apply")
    };
    assert_eq!(server_time.map(|time| time.as_micros()), Some(1_000_250));
    assert_eq!(remote.state_of(&key("a")).server_time(), server_time);
}

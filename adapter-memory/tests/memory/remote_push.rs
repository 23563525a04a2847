//! Pushes against the strongest remote.

use std::collections::BTreeSet;

use adapter_memory::{MemoryRemoteStore, Rejection};
use sync_core::{ChangedFields, ErrorKind, OpKind, Payload, PushOp, PushOutcome, RemoteState};

use crate::common::*;

#[track_caller]
fn conflicts(remote: &MemoryRemoteStore, op: PushOp) {
    let current = remote.state_of(&op.key);
    match outcome(remote, op) {
        PushOutcome::Conflict { current: told } => {
            assert_eq!(
                (told.is_live(), told.version()),
                (current.is_live(), current.version())
            );
        }
        other => panic!("expected a conflict, got {other:?}"),
    }
}

#[test]
fn a_create_conflicts_with_a_live_record_and_with_a_tombstone_it_was_not_made_on() {
    let remote = MemoryRemoteStore::new();
    let created = applied(&remote, create(1, "a"));
    conflicts(&remote, create(2, "a"));
    let deleted = applied(&remote, delete(3, "a", Some(created.clone())));
    conflicts(&remote, create(4, "a"));
    conflicts(
        &remote,
        PushOp {
            base: Some(created),
            ..create(5, "a")
        },
    );
    applied(
        &remote,
        PushOp {
            base: Some(deleted),
            ..create(6, "a")
        },
    );
    assert_eq!(remote.state_of(&key("a")).payload(), Some(&n(6)));
}

#[test]
fn updates_and_deletes_conflict_when_the_record_moved_on() {
    let remote = MemoryRemoteStore::new();
    let old = applied(&remote, create(1, "a"));
    let new = applied(&remote, update(2, "a", Some(old.clone())));
    assert!(old.is_older_than(&new));
    conflicts(&remote, update(3, "a", Some(old.clone())));
    conflicts(&remote, delete(4, "a", Some(old)));
    applied(&remote, update(5, "a", None));
    let gone = applied(&remote, delete(6, "a", None));
    conflicts(&remote, update(7, "a", Some(gone)));
    conflicts(&remote, delete(8, "a", Some(new)));
}

#[test]
fn what_was_never_there_is_missing() {
    let remote = MemoryRemoteStore::new();
    assert_eq!(outcome(&remote, update(1, "a", None)), PushOutcome::Missing);
    assert_eq!(
        outcome(&remote, delete(2, "a", Some(version(3)))),
        PushOutcome::Missing
    );
    assert_eq!(remote.head(), 0);
}

#[test]
fn writes_without_a_difference_still_raise_version_and_stamp() {
    let remote = MemoryRemoteStore::new();
    let first = applied(&remote, create(1, "a"));
    let same = PushOp {
        payload: Some(n(1)),
        ..update(2, "a", Some(first.clone()))
    };
    let second = applied(&remote, same);
    assert!(first.is_older_than(&second));
    assert_eq!(remote.state_of(&key("a")).stamp(), Some(stamp(2)));
    let gone = applied(&remote, delete(3, "a", Some(second)));
    let still_gone = applied(&remote, delete(4, "a", Some(gone.clone())));
    assert!(gone.is_older_than(&still_gone));
    let state = remote.state_of(&key("a"));
    assert!(matches!(state, RemoteState::Deleted(_)));
    assert_eq!(
        (state.stamp(), state.version()),
        (Some(stamp(4)), Some(&still_gone))
    );
}

#[test]
fn named_fields_are_merged_and_the_difference_is_told() {
    let remote = MemoryRemoteStore::new();
    remote.put(&key("a"), payload(r#"{"kept":1,"set":1,"removed":1}"#));
    let changed = ["set", "removed"].map(str::to_owned).into();
    let op = PushOp {
        payload: Some(payload(r#"{"set":2,"kept":9}"#)),
        changed: ChangedFields::Only(changed),
        ..update(1, "a", None)
    };
    let PushOutcome::Applied {
        record: Some(record), ..
    } = outcome(&remote, op)
    else {
        panic!("the stored record differs from the one sent");
    };
    assert!(record.same_content(&payload(r#"{"kept":1,"set":2}"#)));
    assert_eq!(remote.state_of(&key("a")).payload(), Some(&record));
    let agreed = PushOp {
        payload: Some(payload(r#"{"set":3,"kept":1}"#)),
        changed: ChangedFields::Only(BTreeSet::from(["set".to_owned()])),
        ..update(2, "a", None)
    };
    let PushOutcome::Applied { record: None, .. } = outcome(&remote, agreed) else {
        panic!("the stored record is the one sent");
    };
}

#[test]
fn a_repeated_operation_has_no_second_effect_while_it_is_remembered() {
    let remote = MemoryRemoteStore::builder().remember_ops(2).build();
    let version = applied(&remote, create(1, "a"));
    for _ in 0..2 {
        let again = outcome(&remote, create(1, "a"));
        assert_eq!(
            again,
            PushOutcome::Duplicate {
                version: Some(version.clone())
            }
        );
    }
    applied(&remote, create(2, "b"));
    assert!(
        matches!(outcome(&remote, create(1, "a")), PushOutcome::Duplicate { .. }),
        "two are remembered"
    );
    applied(&remote, create(3, "c"));
    conflicts(&remote, create(1, "a"));
    assert_eq!((remote.applied_count(op_id(1)), remote.push_log().len()), (1, 7));
}

#[test]
fn what_did_not_take_effect_is_not_remembered() {
    let remote = MemoryRemoteStore::new();
    let blocker = remote.put(&key("a"), n(0));
    conflicts(&remote, create(1, "a"));
    let gone = remote.delete(&key("a"));
    assert!(blocker.is_older_than(&gone));
    applied(
        &remote,
        PushOp {
            base: Some(gone),
            ..create(1, "a")
        },
    );
}

#[test]
fn one_refusal_does_not_keep_others_from_applying() {
    let remote = MemoryRemoteStore::new();
    remote.set_validator(|op| {
        (op.key.id.as_str() == "bad").then(|| Rejection::new("e1", "not this one").with_field("n"))
    });
    let outcomes = push(&remote, vec![create(1, "a"), create(2, "bad"), create(3, "c")]).unwrap();
    assert_eq!(
        outcomes.iter().map(PushOutcome::name).collect::<Vec<_>>(),
        ["applied", "rejected", "applied"]
    );
    let rejection = Rejection::new("e1", "not this one").with_field("n");
    assert_eq!(outcomes[1], rejection.into());
}

#[test]
fn an_atomic_batch_applies_as_a_whole_or_not_at_all() {
    let remote = MemoryRemoteStore::new();
    remote.put(&key("taken"), n(0));
    let outcomes = push_atomic(&remote, vec![create(1, "a"), create(2, "taken"), create(3, "c")]).unwrap();
    assert_eq!(
        outcomes.iter().map(PushOutcome::name).collect::<Vec<_>>(),
        ["retry", "conflict", "retry"]
    );
    assert_eq!(remote.dump(&target()).len(), 1);
    let outcomes = push_atomic(&remote, vec![create(1, "a"), create(3, "c")]).unwrap();
    assert_eq!(
        outcomes.iter().map(PushOutcome::name).collect::<Vec<_>>(),
        ["applied", "applied"]
    );
    let outcomes = push_atomic(&remote, vec![create(1, "a"), create(3, "c")]).unwrap();
    assert_eq!(
        outcomes.iter().map(PushOutcome::name).collect::<Vec<_>>(),
        ["duplicate", "duplicate"]
    );
    let twice = push_atomic(&remote, vec![create(4, "d"), update(5, "d", None)]);
    assert_eq!(kind(twice), ErrorKind::Invalid);
}

#[test]
fn the_server_may_change_what_it_stores() {
    let remote = MemoryRemoteStore::new();
    remote.set_server_transform(|key, _| payload(&format!(r#"{{"server":"{}"}}"#, key.id)));
    let PushOutcome::Applied { record, .. } = outcome(&remote, create(1, "a")) else {
        panic!("must apply")
    };
    assert_eq!(record, Some(payload(r#"{"server":"a"}"#)));
    assert_eq!(remote.state_of(&key("a")).payload(), record.as_ref());
}

#[test]
fn bad_input_is_answered_and_never_panics() {
    let remote = MemoryRemoteStore::new();
    let code = |op| match outcome(&remote, op) {
        PushOutcome::Rejected { code, .. } => code,
        other => panic!("expected a rejection, got {other:?}"),
    };
    assert_eq!(
        code(PushOp {
            payload: None,
            ..create(1, "a")
        }),
        "payload_missing"
    );
    assert_eq!(
        code(PushOp {
            payload: Some(Payload::from_stored("[")),
            ..create(2, "a")
        }),
        "payload_malformed"
    );
    let elsewhere = sync_core::Target::new(target().collection, scope("elsewhere"));
    let stray = PushOp {
        key: sync_core::RecordKey::new(elsewhere.clone(), id("a")),
        ..create(3, "a")
    };
    assert_eq!(code(stray), "wrong_scope");
    remote.put_malformed(&target(), Some(&id("odd")), "{");
    assert_eq!(code(update(4, "odd", Some(version(1)))), "malformed_row");
    assert_eq!(push(&remote, vec![]).unwrap(), []);
    assert!(remote.dump(&elsewhere).is_empty() && remote.dump(&target()).is_empty());
    applied(&remote, push_op(5, OpKind::Update, "odd", n(5), None));
    assert_eq!(
        remote.state_of(&key("odd")).payload(),
        Some(&n(5)),
        "an unconditional write mends the row"
    );
}

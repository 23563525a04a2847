//! Changes of the queue of pending operations.

use std::time::Duration;

use sync_core::{
    ChangeSet, ChangedFields, ErrorKind, LocalStore, LocalStoreExt, OpChange, OpFailure, OpKind, OpQuery,
    OpState, OpStateKind, ParkReason, PendingOp, RecordKey, RemoteState, RemoteVersion, Tombstone, Versioned,
};

use super::LocalContext;
use crate::{
    case::{Case, Stop, Verdict, cases, ensure, ensure_eq},
    sample::{
        at, commit, enqueue, id, key, op, op_id, payload, pending_row, queue_changes, stamp, target, update,
        uuid,
    },
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P9" appended_operations_get_growing_places_in_the_order_given,
        "P9" a_place_is_not_given_twice,
        "P9" a_replaced_operation_keeps_its_place_and_may_change_its_id,
        "P7" an_operation_that_is_sent_is_in_doubt_and_keeps_the_rest,
        "P7" a_removed_operation_is_gone_and_the_others_stay,
        "P8 P9" a_record_is_loaded_with_all_its_operations_in_order,
        "P7" an_operation_is_kept_with_every_field,
        "P3" an_operation_is_kept_in_every_state,
        "P9" unblock_queues_exactly_the_operations_that_wait_for_those_named,
        "P9" unblock_sees_the_operations_of_its_own_change_set,
    ]
}

/// Puts a record with these operations into the store, and gives them as stored.
pub(super) async fn put_queue(
    store: &dyn LocalStore,
    key: &RecordKey,
    ops: Vec<PendingOp>,
) -> Verdict<Vec<PendingOp>> {
    let row = pending_row(
        key,
        0,
        r#"{"title":"mine"}"#,
        u32::try_from(ops.len()).unwrap_or(u32::MAX),
    );
    let ops = ops.into_iter().map(OpChange::Append).collect();
    commit(
        store,
        ChangeSet {
            records: vec![row],
            ops,
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    Ok(store.load_record(key).await?.ops)
}

/// Every operation of the store, in the order of the queue.
async fn all(store: &dyn LocalStore) -> Verdict<Vec<PendingOp>> {
    Ok(store.load_ops(&OpQuery::default()).await?)
}

async fn appended_operations_get_growing_places_in_the_order_given(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    put_queue(store, &key("b"), vec![update(&key("b"), 9), update(&key("b"), 3)]).await?;
    put_queue(store, &key("a"), vec![update(&key("a"), 5)]).await?;
    let ops = all(store).await?;
    let ids: Vec<_> = ops.iter().map(|op| op.op_id).collect();
    ensure_eq!(
        ids,
        [op_id(9), op_id(3), op_id(5)],
        "the operations in the order of the queue"
    );
    ensure!(ops[0].seq > 0, "the first place is 0, which means: not stored");
    ensure!(
        ops.windows(2).all(|pair| pair[0].seq < pair[1].seq),
        "the places do not grow: {ops:?}"
    );
    Ok(())
}

async fn a_place_is_not_given_twice(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let first = put_queue(store, &key("a"), vec![update(&key("a"), 1)]).await?;
    let removal = ChangeSet {
        removals: vec![key("a")],
        ops: vec![OpChange::Remove(op_id(1))],
        ..ChangeSet::at(at(2))
    };
    commit(store, removal).await?;
    let second = put_queue(store, &key("b"), vec![update(&key("b"), 2)]).await?;
    ensure!(
        second[0].seq > first[0].seq,
        "place {} was given again after {}",
        second[0].seq,
        first[0].seq
    );
    Ok(())
}

async fn a_replaced_operation_keeps_its_place_and_may_change_its_id(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let ops = put_queue(store, &key("a"), (1..=3).map(|n| update(&key("a"), n)).collect()).await?;
    let replaced = PendingOp {
        op_id: op_id(50),
        attempts: 2,
        payload: Some(payload(r#"{"n":7}"#)),
        ..ops[1].clone()
    };
    commit(store, queue_changes([OpChange::Replace(replaced.clone())])).await?;
    let expected = [ops[0].clone(), replaced, ops[2].clone()];
    ensure_eq!(all(store).await?, expected, "the queue after a replacement");
    let by_old_id = OpQuery {
        op_ids: Some(vec![op_id(2)]),
        ..OpQuery::default()
    };
    ensure_eq!(
        store.load_ops(&by_old_id).await?,
        [],
        "operations under the replaced id"
    );
    Ok(())
}

async fn an_operation_that_is_sent_is_in_doubt_and_keeps_the_rest(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let ops = put_queue(store, &key("a"), (1..=2).map(|n| update(&key("a"), n)).collect()).await?;
    let sent = |seq, attempts| OpChange::MarkInDoubt {
        key: key("a"),
        seq,
        attempts,
    };
    commit(
        store,
        queue_changes([sent(ops[0].seq, 3), sent(ops[1].seq + 7, 1)]),
    )
    .await?;
    let marked = PendingOp {
        state: OpState::InDoubt,
        attempts: 3,
        ..ops[0].clone()
    };
    let expected = [marked, ops[1].clone()];
    ensure_eq!(all(store).await?, expected, "the queue after the first was sent");
    let in_doubt = OpQuery {
        states: vec![OpStateKind::InDoubt],
        ..OpQuery::default()
    };
    ensure_eq!(
        store.load_ops(&in_doubt).await?,
        expected[..1],
        "the operations in doubt"
    );
    let counts = store.count_ops(None).await?;
    ensure_eq!(
        (counts.of(OpStateKind::Queued), counts.of(OpStateKind::InDoubt)),
        (1, 1),
        "the numbers in each state"
    );
    Ok(())
}

async fn a_removed_operation_is_gone_and_the_others_stay(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let ops = put_queue(store, &key("a"), vec![update(&key("a"), 1), update(&key("a"), 2)]).await?;
    put_queue(store, &key("b"), vec![update(&key("b"), 3)]).await?;
    let read = store.load_record(&key("a")).await?.revision;
    let changes = ChangeSet {
        records: vec![pending_row(&key("a"), read, r#"{"title":"mine"}"#, 1)],
        ..queue_changes([OpChange::Remove(op_id(1))])
    };
    commit(store, changes).await?;
    ensure_eq!(
        store.load_record(&key("a")).await?.ops,
        ops[1..],
        "operations of the record"
    );
    ensure_eq!(all(store).await?.len(), 2, "operations in the queue");
    Ok(())
}

async fn a_record_is_loaded_with_all_its_operations_in_order(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let numbers = [4, 2, 7, 1];
    put_queue(
        store,
        &key("a"),
        numbers[..2].iter().map(|n| update(&key("a"), *n)).collect(),
    )
    .await?;
    put_queue(store, &key("b"), vec![update(&key("b"), 100)]).await?;
    let read = store.load_record(&key("a")).await?.revision;
    let changes = ChangeSet {
        records: vec![pending_row(&key("a"), read, r#"{"title":"mine"}"#, 4)],
        ..queue_changes(
            numbers[2..]
                .iter()
                .map(|n| OpChange::Append(update(&key("a"), *n))),
        )
    };
    commit(store, changes).await?;
    let loaded = store.load_records(&[key("b"), key("a")]).await?;
    let ids: Vec<_> = loaded[1].ops.iter().map(|op| op.op_id).collect();
    ensure_eq!(ids, numbers.map(op_id), "the operations of the record");
    ensure_eq!(loaded[0].ops.len(), 1, "operations of the other record");
    ensure!(
        loaded[1].is_pending() && loaded[0].is_pending(),
        "a record with operations is not pending"
    );
    Ok(())
}

async fn an_operation_is_kept_with_every_field(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let base = Versioned::new(
        payload(r#"{"title":"old","n":9007199254740993}"#),
        RemoteVersion::opaque("W/\"7\""),
    )
    .with_stamp(Some(stamp(9)))
    .with_server_time(Some(at(-5)));
    let full = PendingOp {
        changed: ChangedFields::Only(["title", "a.b", "", "\u{1F980}"].map(String::from).into()),
        base: Some(RemoteState::Live(base)),
        schema_version: 7,
        group: Some(uuid(77)),
        attempts: 12,
        next_attempt_at: at(3_600),
        enqueued_at: at(-1),
        last_failure: Some(OpFailure {
            kind: ErrorKind::RateLimited,
            message: "slow \"down\"".into(),
            at: at(2),
        }),
        ..op(&key("a"), 1, OpKind::Update, Some(r#"{"z":1,"a":5e-324}"#))
    };
    let tombstone = Tombstone {
        version: None,
        stamp: Some(stamp(3)),
        server_time: None,
    };
    let delete = PendingOp {
        base: Some(RemoteState::Deleted(tombstone)),
        ..op(&key("a"), 2, OpKind::Delete, None)
    };
    let create = PendingOp {
        base: Some(RemoteState::Missing),
        changed: ChangedFields::Only(Default::default()),
        ..op(&key("a"), 3, OpKind::Create, Some("{}"))
    };
    let given = [full, delete, create];
    let stored = put_queue(store, &key("a"), given.to_vec()).await?;
    for (given, stored) in given.into_iter().zip(&stored) {
        ensure_eq!(
            *stored,
            PendingOp {
                seq: stored.seq,
                ..given
            },
            "an operation as stored"
        );
    }
    ensure_eq!(all(store).await?, stored, "the operations as load_ops tells them");
    Ok(())
}

async fn an_operation_is_kept_in_every_state(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let message = || "percent % and 'quote'".to_owned();
    let states = [
        OpState::Queued,
        OpState::InDoubt,
        OpState::Parked(ParkReason::Rejected {
            code: "23505".into(),
            message: message(),
            field: Some("title".into()),
        }),
        OpState::Parked(ParkReason::Rejected {
            code: String::new(),
            message: String::new(),
            field: None,
        }),
        OpState::Parked(ParkReason::SchemaUpgrade { message: message() }),
        OpState::Parked(ParkReason::ResolverFailed { message: message() }),
        OpState::Parked(ParkReason::ScopeRevoked),
        OpState::Deferred,
        OpState::Blocked { by: op_id(4) },
    ];
    let given = (1..).zip(&states).map(|(n, state)| PendingOp {
        state: state.clone(),
        ..update(&key("a"), n)
    });
    let stored = put_queue(store, &key("a"), given.collect()).await?;
    let stored_states: Vec<_> = stored.into_iter().map(|op| op.state).collect();
    ensure_eq!(stored_states, states, "the states as stored");
    Ok(())
}

fn blocked(key: &RecordKey, number: u64, by: u64) -> PendingOp {
    PendingOp {
        state: OpState::Blocked { by: op_id(by) },
        ..update(key, number)
    }
}

async fn unblock_queues_exactly_the_operations_that_wait_for_those_named(
    context: &LocalContext<'_>,
) -> Verdict {
    let store = &*context.store;
    put_queue(
        store,
        &key("a"),
        vec![blocked(&key("a"), 1, 90), blocked(&key("a"), 2, 91)],
    )
    .await?;
    let elsewhere = RecordKey::new(target("notes", "bob"), id("b"));
    put_queue(store, &elsewhere, vec![blocked(&elsewhere, 3, 90)]).await?;
    let parked = PendingOp {
        state: OpState::Parked(ParkReason::ScopeRevoked),
        ..update(&key("c"), 90)
    };
    put_queue(store, &key("c"), vec![parked]).await?;
    let before = all(store).await?;
    commit(
        store,
        ChangeSet {
            unblock: vec![op_id(90), op_id(92)],
            ..ChangeSet::at(at(2))
        },
    )
    .await?;
    let expected: Vec<PendingOp> = before
        .into_iter()
        .map(|op| match op.state {
            OpState::Blocked { by } if by == op_id(90) => PendingOp {
                state: OpState::Queued,
                ..op
            },
            _ => op,
        })
        .collect();
    ensure_eq!(all(store).await?, expected, "the queue after unblocking");
    Ok(())
}

async fn unblock_sees_the_operations_of_its_own_change_set(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let changes = ChangeSet {
        unblock: vec![op_id(90)],
        ops: vec![OpChange::Append(blocked(&key("a"), 1, 90))],
        ..enqueue(&key("a"), 1, r#"{"n":1}"#)
    };
    commit(store, changes).await?;
    let [op] = &all(store).await?[..] else {
        return Err(Stop::failed("one operation was appended"));
    };
    ensure_eq!(
        op.state,
        OpState::Queued,
        "the state of the operation, since `unblock` comes after `ops`"
    );
    ensure_eq!(
        op.next_attempt_at.since(at(0)),
        Duration::ZERO,
        "how long the operation has to wait"
    );
    Ok(())
}

//! Reading the queue: filters, heads, pages, counts.

use sync_core::{
    LocalStore, OpCounts, OpQuery, OpState, OpStateKind, ParkReason, PendingOp, RecordKey, Target,
};

use super::{LocalContext, queue::put_queue};
use crate::{
    case::{Case, Verdict, cases, ensure_eq},
    sample::{at, id, key, op_id, scope, target, todos, update},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P14" operations_are_found_by_scope_target_and_id,
        "" operations_are_found_by_state,
        "P13" due_by_is_inclusive,
        "P11 P13" due_after_finds_what_waits_for_longer,
        "P9" heads_only_gives_the_first_operation_of_each_record,
        "P9" a_head_that_another_filter_leaves_out_still_hides_its_followers,
        "P17" after_seq_and_limit_page_through_the_queue,
        "P14" filters_of_operations_hold_together,
        "" counts_tell_the_number_in_each_state,
        "P14" counts_of_a_scope_leave_others_out,
        "P11 P13" next_due_is_the_earliest_among_active_heads,
    ]
}

async fn found(store: &dyn LocalStore, query: OpQuery) -> Verdict<Vec<sync_core::OpId>> {
    let ops = store.load_ops(&query).await?;
    let keys: Vec<RecordKey> = ops.iter().map(|op| op.key.clone()).collect();
    ensure_eq!(
        store.load_ops_with_records(&query).await?,
        store.load_records(&keys).await?,
        "the records of the operations of {query:?}"
    );
    Ok(ops.into_iter().map(|op| op.op_id).collect())
}

fn in_state(key: &RecordKey, number: u64, state: OpState) -> PendingOp {
    PendingOp {
        state,
        ..update(key, number)
    }
}

fn parked() -> OpState {
    OpState::Parked(ParkReason::ScopeRevoked)
}

async fn operations_are_found_by_scope_target_and_id(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let keys: Vec<RecordKey> = [("todos", "ada"), ("notes", "ada"), ("todos", "bob")]
        .iter()
        .map(|(collection, user)| RecordKey::new(target(collection, user), id("same")))
        .collect();
    for (number, key) in (1..).zip(&keys) {
        put_queue(store, key, vec![update(key, number)]).await?;
    }
    let of_scope = OpQuery {
        scope: Some(scope("ada")),
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, of_scope).await?,
        [op_id(1), op_id(2)],
        "operations of a scope"
    );
    let of_target = OpQuery {
        target: Some(target("todos", "bob")),
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, of_target).await?,
        [op_id(3)],
        "operations of a target"
    );
    let by_id = OpQuery {
        op_ids: Some(vec![op_id(3), op_id(99), op_id(1)]),
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, by_id).await?,
        [op_id(1), op_id(3)],
        "operations by id"
    );
    let by_no_id = OpQuery {
        op_ids: Some(Vec::new()),
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, by_no_id).await?,
        [],
        "operations by an empty list of ids"
    );
    Ok(())
}

async fn operations_are_found_by_state(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let states = [
        OpState::Queued,
        OpState::InDoubt,
        parked(),
        OpState::Deferred,
        OpState::Blocked { by: op_id(3) },
    ];
    let ops = (1..)
        .zip(states)
        .map(|(number, state)| in_state(&key("a"), number, state))
        .collect();
    put_queue(store, &key("a"), ops).await?;
    for (number, kind) in (1..).zip(OpStateKind::ALL) {
        let query = OpQuery {
            states: vec![kind],
            ..OpQuery::default()
        };
        ensure_eq!(
            found(store, query).await?,
            [op_id(number)],
            "operations in the state {}",
            kind.as_str()
        );
    }
    let two = OpQuery {
        states: vec![OpStateKind::Blocked, OpStateKind::Queued],
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, two).await?,
        [op_id(1), op_id(5)],
        "operations in two states"
    );
    Ok(())
}

async fn due_by_is_inclusive(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for (number, due) in [(1, 30), (2, 10), (3, 20)] {
        let record = key(&format!("r{number}"));
        put_queue(
            store,
            &record,
            vec![PendingOp {
                next_attempt_at: at(due),
                ..update(&record, number)
            }],
        )
        .await?;
    }
    let due = |second| OpQuery {
        due_by: Some(at(second)),
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, due(20)).await?,
        [op_id(2), op_id(3)],
        "operations due at their own time"
    );
    ensure_eq!(found(store, due(9)).await?, [], "operations due before the first");
    Ok(())
}

async fn due_after_finds_what_waits_for_longer(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for (number, due) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        let record = key(&format!("r{number}"));
        let op = PendingOp {
            next_attempt_at: at(due),
            ..update(&record, number)
        };
        // One that waits behind another is not due at any time.
        let behind = PendingOp {
            next_attempt_at: at(50),
            ..update(&record, number + 10)
        };
        put_queue(store, &record, vec![op, behind]).await?;
    }
    let due = |second, limit| OpQuery {
        scope: Some(todos().scope),
        states: vec![OpStateKind::Queued, OpStateKind::InDoubt],
        due_after: Some(at(second)),
        heads_only: true,
        limit,
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, due(20, None)).await?,
        [op_id(1), op_id(4)],
        "operations that wait for longer, in the order of the queue"
    );
    ensure_eq!(
        found(store, due(20, Some(1))).await?,
        [op_id(1)],
        "the first of them"
    );
    ensure_eq!(
        found(store, due(40, None)).await?,
        [],
        "operations that wait for longer than all"
    );
    Ok(())
}

async fn heads_only_gives_the_first_operation_of_each_record(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    put_queue(
        store,
        &key("a"),
        vec![update(&key("a"), 1), update(&key("a"), 2), update(&key("a"), 3)],
    )
    .await?;
    put_queue(store, &key("b"), vec![update(&key("b"), 4), update(&key("b"), 5)]).await?;
    let twin = RecordKey::new(target("notes", "ada"), id("a"));
    put_queue(store, &twin, vec![update(&twin, 6)]).await?;
    let heads = OpQuery {
        heads_only: true,
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, heads).await?,
        [op_id(1), op_id(4), op_id(6)],
        "the heads"
    );
    Ok(())
}

async fn a_head_that_another_filter_leaves_out_still_hides_its_followers(
    context: &LocalContext<'_>,
) -> Verdict {
    let store = &*context.store;
    put_queue(
        store,
        &key("a"),
        vec![in_state(&key("a"), 1, parked()), update(&key("a"), 2)],
    )
    .await?;
    let later = PendingOp {
        next_attempt_at: at(500),
        ..update(&key("b"), 3)
    };
    put_queue(store, &key("b"), vec![later, update(&key("b"), 4)]).await?;
    put_queue(store, &key("c"), vec![update(&key("c"), 5)]).await?;
    let ready = OpQuery {
        heads_only: true,
        states: vec![OpStateKind::Queued, OpStateKind::InDoubt],
        due_by: Some(at(100)),
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, ready).await?,
        [op_id(5)],
        "operations that may be sent now"
    );
    let after_the_heads = OpQuery {
        heads_only: true,
        after_seq: Some(store.load_ops(&OpQuery::default()).await?[2].seq),
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, after_the_heads).await?,
        [op_id(5)],
        "heads behind a place"
    );
    Ok(())
}

async fn after_seq_and_limit_page_through_the_queue(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for number in 1..=5 {
        let record = key(&format!("r{}", 9 - number));
        put_queue(store, &record, vec![update(&record, number)]).await?;
    }
    let (mut pages, mut after_seq) = (Vec::new(), None);
    loop {
        let page = store
            .load_ops(&OpQuery {
                after_seq,
                limit: Some(2),
                ..OpQuery::default()
            })
            .await?;
        let Some(last) = page.last() else { break };
        after_seq = Some(last.seq);
        pages.push(page.iter().map(|op| op.op_id).collect::<Vec<_>>());
    }
    let expected = [vec![op_id(1), op_id(2)], vec![op_id(3), op_id(4)], vec![op_id(5)]];
    ensure_eq!(pages, expected, "the pages of the queue");
    let none = OpQuery {
        limit: Some(0),
        ..OpQuery::default()
    };
    ensure_eq!(found(store, none).await?, [], "operations with a limit of 0");
    Ok(())
}

async fn filters_of_operations_hold_together(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let bob = |name: &str| RecordKey::new(target("todos", "bob"), id(name));
    put_queue(store, &key("a"), vec![update(&key("a"), 1)]).await?;
    put_queue(store, &bob("a"), vec![update(&bob("a"), 2)]).await?;
    put_queue(store, &bob("b"), vec![in_state(&bob("b"), 3, parked())]).await?;
    put_queue(store, &bob("c"), vec![update(&bob("c"), 4)]).await?;
    let query = OpQuery {
        scope: Some(scope("bob")),
        target: Some(target("todos", "bob")),
        op_ids: Some([1, 3, 4].map(op_id).to_vec()),
        states: vec![OpStateKind::Queued],
        due_by: Some(at(100)),
        due_after: Some(at(-1)),
        heads_only: true,
        after_seq: Some(1),
        limit: Some(10),
    };
    ensure_eq!(
        found(store, query.clone()).await?,
        [op_id(4)],
        "operations that pass every filter"
    );
    let apart = OpQuery {
        target: Some(todos()),
        ..query
    };
    ensure_eq!(
        found(store, apart).await?,
        [],
        "operations of a target outside the scope"
    );
    Ok(())
}

async fn counts_tell_the_number_in_each_state(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    ensure_eq!(
        store.count_ops(None).await?.total(),
        0,
        "operations of an empty store"
    );
    put_queue(store, &key("a"), vec![update(&key("a"), 1), update(&key("a"), 2)]).await?;
    put_queue(store, &key("b"), vec![in_state(&key("b"), 3, OpState::InDoubt)]).await?;
    put_queue(store, &key("c"), vec![in_state(&key("c"), 4, parked())]).await?;
    let counts = store.count_ops(None).await?;
    let told = OpStateKind::ALL.map(|kind| counts.of(kind));
    ensure_eq!(told, [2, 1, 1, 0, 0], "operations in each state");
    ensure_eq!(counts.total(), 4, "all operations");
    Ok(())
}

async fn counts_of_a_scope_leave_others_out(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let record = |target: Target| RecordKey::new(target, id("same"));
    for (number, target) in (1..).zip([todos(), target("notes", "ada"), target("todos", "bob")]) {
        let key = record(target);
        put_queue(
            store,
            &key,
            vec![PendingOp {
                next_attempt_at: at(100 - number),
                ..update(&key, number as u64)
            }],
        )
        .await?;
    }
    let counts = store.count_ops(Some(&scope("ada"))).await?;
    ensure_eq!(counts.total(), 2, "operations of the scope");
    ensure_eq!(counts.next_due, Some(at(98)), "the next attempt in the scope");
    ensure_eq!(
        store.count_ops(Some(&scope("nobody"))).await?.total(),
        0,
        "operations of an unknown scope"
    );
    Ok(())
}

async fn next_due_is_the_earliest_among_active_heads(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    ensure_eq!(
        store.count_ops(None).await?.next_due,
        None,
        "the next attempt of an empty queue"
    );
    let due = |key: &RecordKey, number, second| PendingOp {
        next_attempt_at: at(second),
        ..update(key, number)
    };
    put_queue(
        store,
        &key("a"),
        vec![due(&key("a"), 1, 50), due(&key("a"), 2, 5)],
    )
    .await?;
    put_queue(
        store,
        &key("b"),
        vec![PendingOp {
            state: parked(),
            ..due(&key("b"), 3, 10)
        }],
    )
    .await?;
    let behind_parked = OpQuery {
        due_by: Some(at(10)),
        heads_only: true,
        ..OpQuery::default()
    };
    ensure_eq!(
        found(store, behind_parked).await?,
        [op_id(3)],
        "heads that are due"
    );
    let OpCounts { next_due, .. } = store.count_ops(None).await?;
    ensure_eq!(
        next_due,
        Some(at(50)),
        "the next attempt, without followers and parked operations"
    );
    put_queue(
        store,
        &key("c"),
        vec![PendingOp {
            state: OpState::InDoubt,
            ..due(&key("c"), 4, 20)
        }],
    )
    .await?;
    ensure_eq!(
        store.count_ops(None).await?.next_due,
        Some(at(20)),
        "the next attempt, in doubt"
    );
    Ok(())
}

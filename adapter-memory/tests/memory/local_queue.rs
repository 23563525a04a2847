//! The queue of the local store, checked against a plain scan.

use adapter_memory::MemoryLocalStore;
use sync_core::{
    ChangeSet, LocalStore, OpChange, OpCounts, OpQuery, OpState, OpStateKind, ParkReason, PendingOp,
    RecordKey,
};

use crate::common::*;

fn load(store: &MemoryLocalStore, query: &OpQuery) -> Vec<PendingOp> {
    block_on(store.load_ops(query)).unwrap()
}

fn ops(changes: Vec<OpChange>) -> ChangeSet {
    ChangeSet {
        ops: changes,
        ..ChangeSet::at(at(0))
    }
}

/// What the contract says of one operation, by a look at all of them.
fn wanted(all: &[PendingOp], query: &OpQuery) -> Vec<PendingOp> {
    let is_head = |op: &PendingOp| !all.iter().any(|other| other.key == op.key && other.seq < op.seq);
    let matches = |op: &&PendingOp| {
        query.scope.as_ref().is_none_or(|scope| op.key.scope() == scope)
            && query
                .target
                .as_ref()
                .is_none_or(|target| op.key.target == *target)
            && query.op_ids.as_ref().is_none_or(|ids| ids.contains(&op.op_id))
            && (query.states.is_empty() || query.states.contains(&op.state.kind()))
            && query.due_by.is_none_or(|time| op.next_attempt_at <= time)
            && query.due_after.is_none_or(|time| op.next_attempt_at > time)
            && (!query.heads_only || is_head(op))
            && query.after_seq.is_none_or(|seq| op.seq > seq)
    };
    let limit = query
        .limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
    all.iter().filter(matches).take(limit).cloned().collect()
}

fn wanted_counts(all: &[PendingOp]) -> OpCounts {
    let mut counts = OpCounts::default();
    for op in all {
        *counts.by_state.entry(op.state.kind()).or_default() += 1;
    }
    let heads = wanted(
        all,
        &OpQuery {
            heads_only: true,
            ..OpQuery::default()
        },
    );
    counts.next_due = heads
        .iter()
        .filter(|op| op.state.kind().is_active())
        .map(|op| op.next_attempt_at)
        .min();
    counts
}

/// A different mix of appends, replacements and removals for each seed.
#[test]
fn the_indexes_agree_with_a_scan_after_any_history() {
    for seed in 0..40_u64 {
        let store = MemoryLocalStore::new();
        let mut random = seed;
        let mut below = |end: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % end
        };
        for step in 0..60_u64 {
            let all = load(&store, &OpQuery::default());
            let picked = (!all.is_empty()).then(|| all[below(all.len() as u64) as usize].clone());
            let scope = scope(["one", "two"][below(2) as usize]);
            let collection = sync_core::CollectionName::new(["x", "y"][below(2) as usize]).unwrap();
            let target = sync_core::Target::new(collection, scope);
            let change = match (below(4), picked) {
                (0, Some(op)) => OpChange::Remove(op.op_id),
                (1, Some(mut op)) => {
                    op.op_id = op_id(u128::from(1_000 + step));
                    op.next_attempt_at = at(below(5) as i64);
                    op.state = match below(4) {
                        0 => OpState::InDoubt,
                        1 => OpState::Parked(ParkReason::ScopeRevoked),
                        2 => OpState::Blocked {
                            by: op_id(u128::from(below(step + 1))),
                        },
                        _ => OpState::Queued,
                    };
                    OpChange::Replace(op)
                }
                _ => {
                    let key = RecordKey::new(target.clone(), id(&format!("r{}", below(6))));
                    let mut op = pending(u128::from(step), &key);
                    op.next_attempt_at = at(below(5) as i64);
                    OpChange::Append(op)
                }
            };
            let unblock = if below(5) == 0 {
                vec![op_id(u128::from(below(step + 1)))]
            } else {
                vec![]
            };
            committed(
                &store,
                ChangeSet {
                    unblock,
                    ..ops(vec![change])
                },
            );

            let all = load(&store, &OpQuery::default());
            assert!(all.is_sorted_by_key(|op| op.seq));
            let query = OpQuery {
                scope: (below(2) == 0).then(|| target.scope.clone()),
                target: (below(3) == 0).then(|| target.clone()),
                op_ids: (below(4) == 0).then(|| all.iter().rev().step_by(2).map(|op| op.op_id).collect()),
                states: match below(3) {
                    0 => vec![OpStateKind::Queued, OpStateKind::Parked],
                    1 => vec![OpStateKind::Queued, OpStateKind::InDoubt],
                    _ => vec![],
                },
                due_by: (below(2) == 0).then(|| at(below(5) as i64)),
                due_after: (below(3) == 0).then(|| at(below(5) as i64)),
                heads_only: below(2) == 0,
                after_seq: (below(2) == 0).then(|| below(10)),
                limit: (below(2) == 0).then(|| below(4)),
            };
            assert_eq!(
                load(&store, &query),
                wanted(&all, &query),
                "seed {seed}, step {step}: {query:?}"
            );
            for scope in [None, Some(&target.scope)] {
                let of_scope: Vec<_> = all
                    .iter()
                    .filter(|op| scope.is_none_or(|scope| op.key.scope() == scope))
                    .cloned()
                    .collect();
                let mut counts = block_on(store.count_ops(scope)).unwrap();
                counts.by_state.retain(|_, number| *number > 0);
                assert_eq!(counts, wanted_counts(&of_scope), "seed {seed}, step {step}");
            }
        }
    }
}

#[test]
fn unblocking_queues_exactly_those_that_wait() {
    let store = MemoryLocalStore::new();
    let blocked = |number, by| PendingOp {
        state: OpState::Blocked { by: op_id(by) },
        ..pending(number, &key(&number.to_string()))
    };
    committed(
        &store,
        ops([(2, 1), (3, 1), (4, 9)]
            .map(|(op, by)| OpChange::Append(blocked(op, by)))
            .to_vec()),
    );
    committed(
        &store,
        ChangeSet {
            unblock: vec![op_id(1)],
            ..ChangeSet::at(at(1))
        },
    );
    let states: Vec<_> = load(&store, &OpQuery::default())
        .into_iter()
        .map(|op| op.state.kind())
        .collect();
    assert_eq!(
        states,
        [OpStateKind::Queued, OpStateKind::Queued, OpStateKind::Blocked]
    );
}

#[test]
fn replacing_or_removing_what_is_gone_does_nothing() {
    let store = MemoryLocalStore::new();
    let gone = PendingOp {
        seq: 7,
        ..pending(1, &key("a"))
    };
    committed(
        &store,
        ops(vec![OpChange::Replace(gone), OpChange::Remove(op_id(3))]),
    );
    assert_eq!(load(&store, &OpQuery::default()), []);
}

//! What must hold of a store after anything that may happen to it.

use std::collections::BTreeSet;

use sync_core::{
    LocalStore, OpKind, OpQuery, Payload, PendingOp, RecordKey, RecordState, Result, Stamp, TargetState,
    query::QuerySpec,
};

use crate::world::{internal, target};

/// How often a store that goes on changing is read before that is an error.
const MOST_READS: usize = 1_000;

/// What does not hold between records, queue, clock and sync point, asked through the store's own reads.
///
/// The engine may be at work meanwhile: a synchronization goes on when the future that asked for it is dropped. So only
/// a state that was read twice without a difference is blamed.
///
/// # Errors
/// If the store cannot be read, or never comes to rest.
pub(crate) async fn invariants(store: &dyn LocalStore) -> Result<Vec<String>> {
    let mut seen = Seen::read(store).await?;
    for _ in 0..MOST_READS {
        let wrong = seen.wrong();
        if wrong.is_empty() {
            return Ok(wrong);
        }
        let again = Seen::read(store).await?;
        if again == seen {
            return Ok(wrong);
        }
        seen = again;
    }
    Err(internal("the store does not come to rest"))
}

/// What a store holds, read one after the other.
#[derive(PartialEq)]
struct Seen {
    ops: Vec<PendingOp>,
    records: Vec<RecordState>,
    clock: Option<Stamp>,
    progress: TargetState,
}

impl Seen {
    async fn read(store: &dyn LocalStore) -> Result<Self> {
        let ops = store.load_ops(&OpQuery::default()).await?;
        let shown = store.query(&target(), &QuerySpec::new()).await?;
        let mut keys: BTreeSet<RecordKey> = ops.iter().map(|op| op.key.clone()).collect();
        keys.extend(
            shown
                .into_iter()
                .map(|record| RecordKey::new(target(), record.id)),
        );
        let keys: Vec<_> = keys.into_iter().collect();
        Ok(Self {
            ops,
            records: store.load_records(&keys).await?,
            clock: store.load_clock().await?,
            progress: store.load_target(&target()).await?,
        })
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for state in &self.records {
            let expected = expected_view(state);
            let same = match (&state.view, expected) {
                (Some(view), Some(expected)) => view.same_content(expected),
                (None, None) => true,
                _ => false,
            };
            if !same {
                wrong.push(format!(
                    "{} shows {:?}, but base and operations make {expected:?}",
                    state.key, state.view
                ));
            }
        }
        if let Some(latest) = self.ops.iter().map(|op| op.stamp).max()
            && self.clock.is_none_or(|clock| clock < latest)
        {
            wrong.push(format!(
                "the clock {:?} is behind an operation of {latest:?}",
                self.clock
            ));
        }
        // A pass from the beginning has no sync point before its first page.
        let TargetState {
            incomplete,
            sync_point,
            pass,
            ..
        } = &self.progress;
        if incomplete.is_none() && sync_point.is_none() && pass.is_none() {
            wrong.push("a complete target without a sync point".to_owned());
        }
        wrong
    }
}

/// The base with the effects of the operations.
fn expected_view(state: &RecordState) -> Option<&Payload> {
    match state.ops.last() {
        None => state.base.payload(),
        Some(op) if op.kind == OpKind::Delete => None,
        Some(op) => op.payload.as_ref(),
    }
}

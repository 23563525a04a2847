//! What must hold of a store after anything that may happen to it.

use std::collections::BTreeSet;

use sync_core::{LocalStore, OpKind, OpQuery, Payload, RecordKey, RecordState, Result, query::QuerySpec};

use crate::world::target;

/// What does not hold between records, queue, clock and sync point, asked through the store's own reads.
pub(crate) async fn invariants(store: &dyn LocalStore) -> Result<Vec<String>> {
    let ops = store.load_ops(&OpQuery::default()).await?;
    let shown = store.query(&target(), &QuerySpec::new()).await?;
    let mut keys: BTreeSet<RecordKey> = ops.iter().map(|op| op.key.clone()).collect();
    keys.extend(
        shown
            .into_iter()
            .map(|record| RecordKey::new(target(), record.id)),
    );
    let keys: Vec<_> = keys.into_iter().collect();
    let mut wrong = Vec::new();
    for state in store.load_records(&keys).await? {
        let expected = expected_view(&state);
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
    let clock = store.load_clock().await?;
    if let Some(latest) = ops.iter().map(|op| op.stamp).max()
        && clock.is_none_or(|clock| clock < latest)
    {
        wrong.push(format!(
            "the clock {clock:?} is behind an operation of {latest:?}"
        ));
    }
    let progress = store.load_target(&target()).await?;
    // A pass from the beginning has no sync point before its first page.
    if progress.incomplete.is_none() && progress.sync_point.is_none() && progress.pass.is_none() {
        wrong.push("a complete target without a sync point".to_owned());
    }
    Ok(wrong)
}

/// The base with the effects of the operations.
fn expected_view(state: &RecordState) -> Option<&Payload> {
    match state.ops.last() {
        None => state.base.payload(),
        Some(op) if op.kind == OpKind::Delete => None,
        Some(op) => op.payload.as_ref(),
    }
}

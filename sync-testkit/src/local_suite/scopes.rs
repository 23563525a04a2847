//! Scopes are exact: the same id in another scope or collection is another record, in every function.

use sync_core::{
    ChangeSet, CollectionName, EvictionQuery, LocalStore, OpQuery, QuarantinedRow, RecordKey, SyncScope,
    Target, query::QuerySpec,
};

use super::{LocalContext, everything};
use crate::{
    case::{Case, Verdict, cases, ensure, ensure_eq},
    sample::{at, collection, commit, confirm, deleted, enqueue, id, live, page, payload, target},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P14" the_same_id_in_two_targets_is_two_records,
        "P14" writing_one_target_leaves_the_others_alone,
        "P14" scopes_that_look_alike_are_apart,
        "P14" scopes_with_the_same_keys_in_another_order_are_one,
        "P14" collections_that_look_alike_are_apart,
    ]
}

/// Targets that share a scope, a collection, or neither.
fn targets() -> [Target; 4] {
    [
        target("todos", "ada"),
        target("todos", "bob"),
        target("notes", "ada"),
        target("notes", "bob"),
    ]
}

fn content(target: &Target) -> String {
    format!(r#"{{"at":"{target}"}}"#)
}

/// Puts the record `same` into each target, each with other content.
async fn put_same(store: &dyn LocalStore, targets: &[Target]) -> Verdict {
    for target in targets {
        commit(
            store,
            confirm(&RecordKey::new(target.clone(), id("same")), &content(target), 1),
        )
        .await?;
    }
    Ok(())
}

/// What every reading function tells of the record `same` of one target.
async fn ensure_own_content(store: &dyn LocalStore, target: &Target) -> Verdict {
    let key = RecordKey::new(target.clone(), id("same"));
    let own = payload(&content(target));
    ensure_eq!(
        store.load_records(&[key]).await?[0].view,
        Some(own.clone()),
        "load_records of {target}"
    );
    let found = store.query(target, &QuerySpec::new()).await?;
    ensure_eq!(
        found.iter().map(|record| &record.payload).collect::<Vec<_>>(),
        [&own],
        "query of {target}"
    );
    ensure_eq!(store.count(target, None).await?, 1, "count of {target}");
    ensure_eq!(
        store.load_summaries(target, &[id("same")]).await?.len(),
        1,
        "load_summaries of {target}"
    );
    ensure_eq!(
        store.load_unmarked(target, 9, None, 10).await?,
        [id("same")],
        "load_unmarked of {target}"
    );
    let eviction = EvictionQuery {
        target: Some(target.clone()),
        tombstones: false,
        touched_before: None,
        limit: 10,
    };
    ensure_eq!(
        store.load_eviction_candidates(&eviction).await?.len(),
        1,
        "eviction candidates of {target}"
    );
    Ok(())
}

async fn the_same_id_in_two_targets_is_two_records(context: &LocalContext<'_>) -> Verdict {
    put_same(&*context.store, &targets()).await?;
    for target in targets() {
        ensure_own_content(&*context.store, &target).await?;
    }
    Ok(())
}

async fn writing_one_target_leaves_the_others_alone(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    put_same(store, &targets()).await?;
    let [changed, others @ ..] = targets();
    let same = RecordKey::new(changed.clone(), id("same"));
    let quarantined = QuarantinedRow {
        target: changed.clone(),
        ..everything::quarantined("same")
    };
    let busy = ChangeSet {
        confirmed: vec![page(&changed, 5, [(id("same"), live(r#"{"at":"other"}"#, 2))])],
        marks: vec![(changed.clone(), vec![id("same")], 6)],
        targets: vec![everything::pulled(changed.clone())],
        quarantine: vec![quarantined],
        ..ChangeSet::at(at(2))
    };
    commit(store, busy).await?;
    let understood = vec![(others[0].clone(), vec![id("same")])];
    commit(
        store,
        ChangeSet {
            understood,
            ..ChangeSet::at(at(3))
        },
    )
    .await?;
    ensure_eq!(
        store.load_quarantine(Some(&changed), 10).await?.len(),
        1,
        "quarantined rows of the written target"
    );
    commit(
        store,
        ChangeSet {
            confirmed: vec![page(&changed, 7, [(id("same"), deleted(3))])],
            ..ChangeSet::at(at(4))
        },
    )
    .await?;
    commit(
        store,
        ChangeSet {
            removals: vec![same.clone()],
            ..ChangeSet::at(at(5))
        },
    )
    .await?;
    commit(store, enqueue(&same, 1, r#"{"at":"new"}"#)).await?;
    for target in &others {
        ensure_own_content(store, target).await?;
        ensure_eq!(
            store.load_target(target).await?.generation,
            0,
            "generation of {target}"
        );
        ensure_eq!(
            store.load_quarantine(Some(target), 10).await?.len(),
            0,
            "quarantined rows of {target}"
        );
        let ops = OpQuery {
            target: Some(target.clone()),
            ..OpQuery::default()
        };
        ensure_eq!(store.load_ops(&ops).await?, [], "operations of {target}");
    }
    Ok(())
}

async fn scopes_that_look_alike_are_apart(context: &LocalContext<'_>) -> Verdict {
    let scope = |name: &str, keys: &[(&str, &str)]| {
        keys.iter()
            .try_fold(SyncScope::new(name)?, |scope, (key, value)| {
                scope.with(*key, *value)
            })
    };
    let look_alikes = [
        scope("s", &[("a", "1"), ("b", "2")])?,
        scope("s", &[("a", "1&b=2")])?,
        scope("s?a=1", &[("b", "2")])?,
        scope("s", &[("A", "1"), ("b", "2")])?,
        scope("s", &[("a", "1"), ("b", "2 ")])?,
        scope("s", &[("a", "1")])?,
        scope("s", &[("a", "%")])?,
        scope("s", &[("a", "_")])?,
        scope("s", &[])?,
        scope("S", &[])?,
        scope("s'; --", &[])?,
    ];
    let targets: Vec<Target> = look_alikes
        .into_iter()
        .map(|scope| Target::new(collection("notes"), scope))
        .collect();
    put_same(&*context.store, &targets).await?;
    for target in &targets {
        ensure_own_content(&*context.store, target).await?;
    }
    let mut listed = context.store.list_targets().await?;
    listed.sort();
    let mut expected = targets;
    expected.sort();
    ensure_eq!(listed, expected, "the listed targets");
    Ok(())
}

async fn scopes_with_the_same_keys_in_another_order_are_one(context: &LocalContext<'_>) -> Verdict {
    let one = SyncScope::new("s")?.with("a", "1")?.with("b", "2")?;
    let other = SyncScope::new("s")?.with("b", "2")?.with("a", "1")?;
    put_same(&*context.store, &[Target::new(collection("notes"), one)]).await?;
    let found = context
        .store
        .count(&Target::new(collection("notes"), other), None)
        .await?;
    ensure_eq!(found, 1, "records under the keys in another order");
    Ok(())
}

async fn collections_that_look_alike_are_apart(context: &LocalContext<'_>) -> Verdict {
    let names = [
        "notes",
        "Notes",
        "notes ",
        "note_",
        "note%",
        "n\u{f6}tes",
        "notes;drop",
    ];
    let targets = names
        .iter()
        .map(|name| {
            Ok(Target::new(
                CollectionName::new(*name)?,
                crate::sample::scope("ada"),
            ))
        })
        .collect::<Verdict<Vec<_>>>()?;
    put_same(&*context.store, &targets).await?;
    for target in &targets {
        ensure_own_content(&*context.store, target).await?;
    }
    ensure!(
        context.store.list_targets().await?.len() == names.len(),
        "some of {names:?} share their rows"
    );
    Ok(())
}

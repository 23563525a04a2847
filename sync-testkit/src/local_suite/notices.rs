//! What commits changed, told after them.

use std::collections::BTreeSet;

use futures::{StreamExt, stream::BoxStream};
use sync_core::{ChangeSet, LocalStore, OpChange, RecordId, StoreChange, SyncScope, Target};

use super::{LocalContext, everything};
use crate::{
    case::{Case, Stop, Verdict, cases, ensure, ensure_eq},
    sample::{
        at, commit, commit_stale, confirm, confirmed_row, deleted, enqueue, id, key, live, page, scope,
        target, todos,
    },
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P18" a_commit_tells_exactly_the_records_it_changed,
        "P18" a_confirmed_delete_and_a_removal_are_told,
        "P14" changes_are_told_for_each_target,
        "P11" an_appended_operation_tells_its_scope,
        "" a_change_can_be_read_once_it_is_told,
        "" a_stale_commit_tells_nothing,
        "P17" the_same_state_and_marks_tell_nothing,
        "" every_listener_is_told,
        "P11" a_slow_listener_misses_nothing_in_silence,
        "" a_listener_is_told_of_what_comes_after_it_began,
    ]
}

type Notices = BoxStream<'static, StoreChange>;

/// What was told up to and with the change of the record `end`, which the case commits as the last.
#[derive(Debug, Default, PartialEq)]
struct Told {
    records: BTreeSet<(Target, RecordId)>,
    enqueued: BTreeSet<SyncScope>,
}

impl Told {
    fn of(records: &[(Target, &str)], enqueued: &[SyncScope]) -> Self {
        let records = records
            .iter()
            .map(|(target, name)| (target.clone(), id(name)))
            .collect();
        Self {
            records,
            enqueued: enqueued.iter().cloned().collect(),
        }
    }
}

async fn told_until_end(store: &dyn LocalStore, notices: &mut Notices) -> Verdict<Told> {
    // A new version each time, so that it is a change for every listener that waits for it.
    let version = store.load_records(&[key("end")]).await?[0].revision + 1;
    commit(
        store,
        confirm(&key("end"), "{}", i64::try_from(version).unwrap_or(i64::MAX)),
    )
    .await?;
    let mut told = Told::default();
    while let Some(notice) = notices.next().await {
        match notice {
            StoreChange::Records {
                target,
                ids: Some(ids),
            } => {
                if ids == [id("end")] {
                    return Ok(told);
                }
                told.records
                    .extend(ids.into_iter().map(|id| (target.clone(), id)));
            }
            StoreChange::Enqueued(scope) => {
                told.enqueued.insert(scope);
            }
            vague => return Err(Stop::failed(format!("a small commit was told as {vague:?}"))),
        }
    }
    Err(Stop::failed(
        "the stream of changes ended while the store is open",
    ))
}

async fn a_commit_tells_exactly_the_records_it_changed(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("untouched"), "{}", 1)).await?;
    let mut notices = store.changes();
    let confirmed = vec![page(
        &todos(),
        0,
        [(id("a"), live("{}", 1)), (id("b"), live("{}", 1))],
    )];
    commit(
        store,
        ChangeSet {
            confirmed,
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    let records = vec![confirmed_row(&key("c"), 0, live("{}", 1))];
    commit(
        store,
        ChangeSet {
            records,
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    let expected = Told::of(&[(todos(), "a"), (todos(), "b"), (todos(), "c")], &[]);
    ensure_eq!(
        told_until_end(store, &mut notices).await?,
        expected,
        "what was told"
    );
    Ok(())
}

async fn a_confirmed_delete_and_a_removal_are_told(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("deleted"), "{}", 1)).await?;
    commit(store, confirm(&key("removed"), "{}", 1)).await?;
    let mut notices = store.changes();
    let changes = ChangeSet {
        confirmed: vec![page(&todos(), 0, [(id("deleted"), deleted(2))])],
        removals: vec![key("removed")],
        ..ChangeSet::at(at(2))
    };
    commit(store, changes).await?;
    let expected = Told::of(&[(todos(), "deleted"), (todos(), "removed")], &[]);
    ensure_eq!(
        told_until_end(store, &mut notices).await?,
        expected,
        "what was told"
    );
    Ok(())
}

async fn changes_are_told_for_each_target(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let targets = [todos(), target("todos", "bob"), target("notes", "ada")];
    let mut notices = store.changes();
    let confirmed = targets
        .iter()
        .map(|target| page(target, 0, [(id("same"), live("{}", 1))]))
        .collect();
    commit(
        store,
        ChangeSet {
            confirmed,
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    let expected = Told::of(&targets.map(|target| (target, "same")), &[]);
    ensure_eq!(
        told_until_end(store, &mut notices).await?,
        expected,
        "what was told"
    );
    Ok(())
}

async fn an_appended_operation_tells_its_scope(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let mut notices = store.changes();
    commit(store, enqueue(&key("a"), 1, "{}")).await?;
    let expected = Told::of(&[(todos(), "a")], &[scope("ada")]);
    ensure_eq!(
        told_until_end(store, &mut notices).await?,
        expected,
        "what was told"
    );
    Ok(())
}

async fn a_change_can_be_read_once_it_is_told(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let mut notices = store.changes();
    let read = async {
        let Some(told) = notices.next().await else {
            return Err(Stop::failed(
                "the stream of changes ended while the store is open",
            ));
        };
        let state = &store.load_records(&[key("a")]).await?[0];
        ensure!(state.view.is_some(), "{told:?} was told before it could be read");
        Ok(())
    };
    futures::try_join!(read, commit(store, confirm(&key("a"), "{}", 1)))?;
    Ok(())
}

async fn a_stale_commit_tells_nothing(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("a"), "{}", 1)).await?;
    let mut notices = store.changes();
    let mut stale = enqueue(&key("b"), 1, "{}");
    stale.guards.push((key("a"), 99));
    commit_stale(store, stale).await?;
    ensure_eq!(
        told_until_end(store, &mut notices).await?,
        Told::default(),
        "what a stale commit told"
    );
    Ok(())
}

async fn the_same_state_and_marks_tell_nothing(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("a"), "{}", 1)).await?;
    commit(store, enqueue(&key("b"), 1, "{}")).await?;
    let mut notices = store.changes();
    let quiet = ChangeSet {
        confirmed: vec![page(&todos(), 4, [(id("a"), live("{}", 1))])],
        marks: vec![(todos(), vec![id("b")], 4)],
        targets: vec![everything::pulled(todos())],
        settings: vec![("name".into(), Some("value".into()))],
        clock: Some(crate::sample::stamp(9)),
        ..ChangeSet::at(at(2))
    };
    commit(store, quiet).await?;
    let seen = store.load_records(&[key("b")]).await?[0].ops[0].clone();
    let retried = sync_core::PendingOp { attempts: 1, ..seen };
    commit(store, crate::sample::queue_changes([OpChange::Replace(retried)])).await?;
    ensure_eq!(
        told_until_end(store, &mut notices).await?,
        Told::default(),
        "what was told of an unchanged view"
    );
    Ok(())
}

async fn every_listener_is_told(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let (mut first, mut second, dropped) = (store.changes(), store.changes(), store.changes());
    drop(dropped);
    commit(store, confirm(&key("a"), "{}", 1)).await?;
    let expected = Told::of(&[(todos(), "a")], &[]);
    ensure_eq!(
        told_until_end(store, &mut first).await?,
        expected,
        "what the first listener was told"
    );
    // The second one hears the end of the first as well.
    ensure_eq!(
        told_until_end(store, &mut second).await?,
        expected,
        "what the second listener was told"
    );
    Ok(())
}

/// A listener that reads nothing during many commits is told each of them, or that anything may have changed.
async fn a_slow_listener_misses_nothing_in_silence(context: &LocalContext<'_>) -> Verdict {
    const COMMITS: usize = 400;
    let store = &*context.store;
    let mut notices = store.changes();
    for number in 0..COMMITS {
        commit(store, confirm(&key(&format!("r{number}")), "{}", 1)).await?;
    }
    let mut told = BTreeSet::new();
    while told.len() < COMMITS {
        match notices.next().await {
            Some(StoreChange::Records { ids: Some(ids), .. }) => told.extend(ids),
            Some(StoreChange::Records { ids: None, .. } | StoreChange::Anything) => return Ok(()),
            Some(other) => return Err(Stop::failed(format!("a confirmed record was told as {other:?}"))),
            None => {
                return Err(Stop::failed(
                    "the stream of changes ended while the store is open",
                ));
            }
        }
    }
    Ok(())
}

async fn a_listener_is_told_of_what_comes_after_it_began(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("before"), "{}", 1)).await?;
    let mut notices = store.changes();
    commit(store, confirm(&key("after"), "{}", 1)).await?;
    let expected = Told::of(&[(todos(), "after")], &[]);
    ensure_eq!(
        told_until_end(store, &mut notices).await?,
        expected,
        "what was told"
    );
    Ok(())
}

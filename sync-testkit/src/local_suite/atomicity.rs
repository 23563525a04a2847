//! A change set takes effect as a whole or not at all.

use std::{pin::pin, task::Poll};

use sync_core::{ChangeSet, CommitOutcome, ErrorKind, LeaseAnswer, LocalStore, RecordKey};

use super::{
    LocalContext,
    everything::{everything, full_change_set, groundwork},
};
use crate::{
    case::{Case, Stop, Verdict, cases, ensure, ensure_eq, give_way},
    sample::{
        LEASE_TIME, at, commit, commit_stale, confirm, confirmed_row, enqueue, id, key, live, page, todos,
        uuid,
    },
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P1 P2" a_commit_writes_every_part,
        "P1 P2" a_stale_guard_writes_nothing_of_any_part,
        "P1 P8" a_stale_record_writes_nothing_of_any_part,
        "P2 P8" a_stale_confirmation_writes_nothing_of_any_part,
        "P3" a_stale_removal_writes_nothing_of_any_part,
        "P12" a_lost_lease_writes_nothing_of_any_part,
        "P1" a_commit_without_changes_is_committed,
        "P1" a_reader_never_sees_a_part_of_a_commit,
        "P1" a_dropped_commit_happened_as_a_whole_or_not_at_all,
    ]
}

async fn a_commit_writes_every_part(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, groundwork()).await?;
    let before = everything(store).await?;
    commit(store, full_change_set(store).await?).await?;
    let after = everything(store).await?;
    ensure!(before != after, "nothing changed");

    let keys = ["written", "confirmed", "marked", "removed", "settled", "waiting"].map(key);
    let [written, confirmed, marked, removed, settled, waiting] = &store.load_records(&keys).await?[..]
    else {
        return Err(Stop::failed("load_records did not answer one state for each key"));
    };
    ensure_eq!(written.ops.len(), 1, "operations of the written record");
    ensure!(written.view.is_some(), "the written record has no view");
    ensure_eq!(
        confirmed.base,
        live(r#"{"title":"theirs"}"#, 2),
        "base of the confirmed record"
    );
    ensure_eq!(marked.mark, 3, "mark of the marked record");
    ensure_eq!(removed.revision, 0, "revision of the removed record");
    ensure_eq!(settled.ops.len(), 0, "operations of the settled record");
    ensure_eq!(
        waiting.ops[0].state,
        sync_core::OpState::Queued,
        "state of the unblocked operation"
    );
    ensure_eq!(
        store.load_target(&todos()).await?.generation,
        9,
        "generation of the target"
    );
    ensure_eq!(
        store.load_conflicts(&Default::default()).await?.len(),
        1,
        "number of conflicts"
    );
    let quarantine = store.load_quarantine(None, 10).await?;
    ensure_eq!(quarantine.len(), 1, "number of quarantined rows");
    ensure_eq!(
        quarantine[0].row.id,
        Some(id("broken")),
        "the row left in quarantine"
    );
    ensure_eq!(store.load_setting("kept").await?, None, "the removed setting");
    ensure_eq!(
        store.load_setting("new").await?.as_deref(),
        Some("value"),
        "the new setting"
    );
    ensure_eq!(
        store.load_clock().await?,
        Some(crate::sample::stamp(3)),
        "the clock"
    );
    Ok(())
}

/// Commits the full change set made stale by `spoil`, and compares all that can be read before and after.
async fn nothing_is_written(
    store: &dyn LocalStore,
    offender: &RecordKey,
    spoil: impl FnOnce(&mut ChangeSet),
) -> Verdict {
    commit(store, groundwork()).await?;
    let mut changes = full_change_set(store).await?;
    spoil(&mut changes);
    let before = everything(store).await?;
    let named = commit_stale(store, changes).await?;
    ensure_eq!(everything(store).await?, before, "the store after a stale commit");
    ensure_eq!(
        named,
        std::slice::from_ref(offender),
        "the records named as stale"
    );
    Ok(())
}

async fn a_stale_guard_writes_nothing_of_any_part(context: &LocalContext<'_>) -> Verdict {
    nothing_is_written(&*context.store, &key("guarded"), |changes| {
        changes.guards[0].1 += 1
    })
    .await
}

async fn a_stale_record_writes_nothing_of_any_part(context: &LocalContext<'_>) -> Verdict {
    nothing_is_written(&*context.store, &key("settled"), |changes| {
        changes.records[1].read_revision += 1
    })
    .await
}

async fn a_stale_confirmation_writes_nothing_of_any_part(context: &LocalContext<'_>) -> Verdict {
    nothing_is_written(&*context.store, &key("waiting"), |changes| {
        changes.confirmed.push(page(
            &todos(),
            3,
            [(id("waiting"), live(r#"{"title":"theirs"}"#, 5))],
        ));
    })
    .await
}

async fn a_stale_removal_writes_nothing_of_any_part(context: &LocalContext<'_>) -> Verdict {
    nothing_is_written(&*context.store, &key("waiting"), |changes| {
        changes.removals.push(key("waiting"))
    })
    .await
}

async fn a_lost_lease_writes_nothing_of_any_part(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, groundwork()).await?;
    let LeaseAnswer::Granted(fence) = store.acquire_lease("sync", uuid(1), at(0), LEASE_TIME).await? else {
        return Err(Stop::failed("a free lease was not granted"));
    };
    store.acquire_lease("sync", uuid(2), at(100), LEASE_TIME).await?;
    let changes = ChangeSet {
        fence: Some(fence),
        ..full_change_set(store).await?
    };
    let before = everything(store).await?;
    match store.commit(changes).await {
        Err(error) => ensure_eq!(error.kind(), ErrorKind::LeaseLost, "the kind of the error"),
        Ok(outcome) => {
            return Err(Stop::failed(format!(
                "a commit with a lost lease was answered {outcome:?}"
            )));
        }
    }
    ensure_eq!(
        everything(store).await?,
        before,
        "the store after a commit with a lost lease"
    );
    Ok(())
}

async fn a_commit_without_changes_is_committed(context: &LocalContext<'_>) -> Verdict {
    let before = everything(&*context.store).await?;
    commit(&*context.store, ChangeSet::at(at(1))).await?;
    ensure_eq!(
        everything(&*context.store).await?,
        before,
        "the store after an empty commit"
    );
    Ok(())
}

async fn a_reader_never_sees_a_part_of_a_commit(context: &LocalContext<'_>) -> Verdict {
    const ROUNDS: i64 = 40;
    let store = &*context.store;
    let keys = [key("left"), key("right")];
    let write = async {
        for round in 1..=ROUNDS {
            let row = |key: &RecordKey| (key.id.clone(), live(&format!(r#"{{"n":{round}}}"#), round));
            let confirmed = vec![page(&todos(), 0, keys.iter().map(row))];
            commit(
                store,
                ChangeSet {
                    confirmed,
                    ..ChangeSet::at(at(round))
                },
            )
            .await?;
            give_way().await;
        }
        Ok::<(), Stop>(())
    };
    let read = async {
        loop {
            let states = store.load_records(&keys).await?;
            ensure_eq!(
                states[0].view,
                states[1].view,
                "two records that are always written together"
            );
            if states[0].view == Some(crate::sample::payload(&format!(r#"{{"n":{ROUNDS}}}"#))) {
                return Ok(());
            }
            give_way().await;
        }
    };
    futures::try_join!(write, read)?;
    Ok(())
}

/// After some steps of each commit, it is dropped: as a timeout or a closed window does.
async fn a_dropped_commit_happened_as_a_whole_or_not_at_all(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for steps in 0..12_u64 {
        let name = format!("r{steps}");
        let (first, second) = (key(&format!("{name}-first")), key(&format!("{name}-second")));
        let mut changes = enqueue(&first, 1_000 + steps, r#"{"n":1}"#);
        changes
            .records
            .push(confirmed_row(&second, 0, live(r#"{"n":1}"#, 1)));
        changes.settings.push((name.clone(), Some("set".into())));
        {
            let mut dropped = pin!(store.commit(changes));
            for _ in 0..steps {
                let step = futures::future::poll_fn(|task| Poll::Ready(dropped.as_mut().poll(task)));
                if step.await.is_ready() {
                    break;
                }
                give_way().await;
            }
        }
        // The store works on, whatever becomes of the dropped commit.
        let next = confirm(&key("after"), &format!(r#"{{"n":{steps}}}"#), 100 + steps as i64);
        commit(store, next).await?;
        let mut parts = parts_of(store, &first, &second, &name).await?;
        if parts.contains(&true) && parts.contains(&false) {
            // It may have happened between the reads of the parts. Once one part is there, all are.
            parts = parts_of(store, &first, &second, &name).await?;
        }
        ensure!(
            parts == [true; 4] || parts == [false; 4],
            "a commit dropped after {steps} steps is half there: {parts:?}"
        );
        let again = store.commit(enqueue(&first, 2_000 + steps, r#"{"n":2}"#)).await?;
        let happened = parts_of(store, &first, &second, &name).await?[3];
        let expected = if happened {
            CommitOutcome::Stale(vec![first])
        } else {
            CommitOutcome::Committed
        };
        ensure_eq!(again, expected, "a guarded repetition of the dropped commit");
    }
    Ok(())
}

/// Which parts of the commit that is dropped can be read.
async fn parts_of(
    store: &dyn LocalStore,
    first: &RecordKey,
    second: &RecordKey,
    setting: &str,
) -> Verdict<[bool; 4]> {
    let states = store.load_records(&[first.clone(), second.clone()]).await?;
    let setting = store.load_setting(setting).await?;
    Ok([
        states[0].view.is_some(),
        states[0].ops.len() == 1,
        states[1].view.is_some(),
        setting.is_some(),
    ])
}

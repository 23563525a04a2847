//! Target states, conflicts, quarantine, settings and the clock.

use sync_core::{
    ChangeSet, ConflictQuery, ConflictRecord, LocalStore, MalformedRow, QuarantinedRow, Stamp, TargetState,
};
use uuid::Uuid;

use super::{
    LocalContext,
    everything::{conflict, pulled, quarantined},
};
use crate::{
    case::{Case, Verdict, cases, ensure_eq},
    sample::{
        NODE, at, commit, confirm, deleted, enqueue, id, key, live, payload, stamp, target, todos, uuid,
    },
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "" an_unknown_target_was_never_synchronized,
        "P2 P4" a_target_state_is_kept_with_every_field,
        "P14" list_targets_tells_targets_with_a_state_or_a_record,
        "P3" a_conflict_is_kept_with_every_field,
        "" a_conflict_with_the_same_id_is_replaced,
        "" conflicts_are_found_latest_first,
        "P10" a_quarantined_row_is_kept_as_it_came,
        "P10" a_quarantined_row_replaces_one_with_the_same_id,
        "P10" a_quarantined_row_without_id_replaces_one_with_the_same_text,
        "P10" quarantined_rows_are_answered_latest_first,
        "P10" a_record_that_is_understood_leaves_the_quarantine,
        "" a_setting_is_written_replaced_and_removed,
        "P16" the_clock_keeps_the_greatest_stamp,
    ]
}

async fn an_unknown_target_was_never_synchronized(context: &LocalContext<'_>) -> Verdict {
    ensure_eq!(
        context.store.load_target(&todos()).await?,
        TargetState::new(todos()),
        "an unknown target"
    );
    ensure_eq!(
        context.store.list_targets().await?,
        [],
        "the targets of an empty store"
    );
    Ok(())
}

async fn a_target_state_is_kept_with_every_field(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for state in [
        pulled(todos()),
        TargetState {
            incomplete: None,
            ..TargetState::new(todos())
        },
        pulled(todos()),
    ] {
        commit(
            store,
            ChangeSet {
                targets: vec![state.clone()],
                ..ChangeSet::at(at(1))
            },
        )
        .await?;
        ensure_eq!(
            store.load_target(&todos()).await?,
            state,
            "the target state as stored"
        );
    }
    Ok(())
}

async fn list_targets_tells_targets_with_a_state_or_a_record(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let with_record = target("notes", "bob");
    let with_op = target("notes", "carol");
    commit(
        store,
        ChangeSet {
            targets: vec![pulled(todos())],
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    commit(
        store,
        confirm(&sync_core::RecordKey::new(with_record.clone(), id("r")), "{}", 1),
    )
    .await?;
    commit(store, confirm(&key("r"), "{}", 1)).await?;
    commit(
        store,
        enqueue(&sync_core::RecordKey::new(with_op.clone(), id("r")), 1, "{}"),
    )
    .await?;
    let mut listed = store.list_targets().await?;
    listed.sort();
    let mut expected = [with_record, with_op, todos()];
    expected.sort();
    ensure_eq!(listed, expected, "the listed targets");
    Ok(())
}

async fn put_conflicts(store: &dyn LocalStore, conflicts: Vec<ConflictRecord>) -> Verdict {
    commit(
        store,
        ChangeSet {
            conflicts,
            ..ChangeSet::at(at(1))
        },
    )
    .await
}

fn open(number: u64) -> ConflictRecord {
    ConflictRecord {
        settlement: None,
        settled_at: None,
        ..conflict(number)
    }
}

async fn a_conflict_is_kept_with_every_field(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let both_there = ConflictRecord {
        base: None,
        local: Some(payload(r#"{"n":9007199254740993}"#)),
        remote: live(r#"{"title":"theirs"}"#, 3),
        ..open(2)
    };
    for given in [
        conflict(1),
        both_there,
        ConflictRecord {
            remote: deleted(4),
            ..open(3)
        },
    ] {
        put_conflicts(store, vec![given.clone()]).await?;
        let query = ConflictQuery {
            conflict_id: Some(given.conflict_id),
            ..ConflictQuery::default()
        };
        ensure_eq!(
            store.load_conflicts(&query).await?,
            [given],
            "the conflict as stored"
        );
    }
    Ok(())
}

async fn a_conflict_with_the_same_id_is_replaced(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    put_conflicts(store, vec![open(1), open(2)]).await?;
    put_conflicts(store, vec![conflict(1)]).await?;
    let stored = store.load_conflicts(&ConflictQuery::default()).await?;
    ensure_eq!(
        stored,
        [open(2), conflict(1)],
        "the conflicts after one was settled"
    );
    Ok(())
}

async fn conflicts_are_found_latest_first(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let elsewhere = sync_core::RecordKey::new(target("todos", "bob"), id("settled"));
    let given = vec![
        open(3),
        ConflictRecord {
            key: elsewhere.clone(),
            ..open(1)
        },
        conflict(4),
        ConflictRecord {
            key: key("other"),
            ..open(2)
        },
    ];
    put_conflicts(store, given).await?;
    let all = ConflictQuery::default();
    for (query, expected) in [
        (all.clone(), vec![4, 3, 2, 1]),
        (
            ConflictQuery {
                open: Some(true),
                ..all.clone()
            },
            vec![3, 2, 1],
        ),
        (
            ConflictQuery {
                open: Some(false),
                ..all.clone()
            },
            vec![4],
        ),
        (
            ConflictQuery {
                target: Some(todos()),
                ..all.clone()
            },
            vec![4, 3, 2],
        ),
        (
            ConflictQuery {
                key: Some(elsewhere),
                ..all.clone()
            },
            vec![1],
        ),
        (
            ConflictQuery {
                limit: Some(2),
                ..all.clone()
            },
            vec![4, 3],
        ),
        (
            ConflictQuery {
                open: Some(true),
                limit: Some(1),
                ..all.clone()
            },
            vec![3],
        ),
        (
            ConflictQuery {
                conflict_id: Some(uuid(9)),
                ..all
            },
            vec![],
        ),
    ] {
        let ids: Vec<Uuid> = store
            .load_conflicts(&query)
            .await?
            .iter()
            .map(|conflict| conflict.conflict_id)
            .collect();
        ensure_eq!(
            ids,
            expected.into_iter().map(uuid).collect::<Vec<_>>(),
            "the answer to {query:?}"
        );
    }
    Ok(())
}

async fn put_quarantine(store: &dyn LocalStore, quarantine: Vec<QuarantinedRow>) -> Verdict {
    commit(
        store,
        ChangeSet {
            quarantine,
            ..ChangeSet::at(at(1))
        },
    )
    .await
}

fn raw(text: &str, second: i64) -> QuarantinedRow {
    let row = MalformedRow {
        id: None,
        raw: text.into(),
        error: "not JSON".into(),
    };
    QuarantinedRow {
        target: todos(),
        row,
        seen_at: at(second),
    }
}

async fn a_quarantined_row_is_kept_as_it_came(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let given = raw("{\"title\": 'tea' \u{1F980} \\u0000 %s", 1);
    put_quarantine(store, vec![given.clone()]).await?;
    ensure_eq!(
        store.load_quarantine(None, 10).await?,
        [given],
        "the quarantined row as stored"
    );
    Ok(())
}

async fn a_quarantined_row_replaces_one_with_the_same_id(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let twin = QuarantinedRow {
        target: target("todos", "bob"),
        seen_at: at(0),
        ..quarantined("r")
    };
    put_quarantine(store, vec![quarantined("r"), twin.clone()]).await?;
    let mut later = QuarantinedRow {
        seen_at: at(5),
        ..quarantined("r")
    };
    later.row.raw = "other text".into();
    put_quarantine(store, vec![later.clone()]).await?;
    ensure_eq!(
        store.load_quarantine(None, 10).await?,
        [later, twin],
        "the quarantine"
    );
    Ok(())
}

async fn a_quarantined_row_without_id_replaces_one_with_the_same_text(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    put_quarantine(store, vec![raw("{", 1), raw("[", 2)]).await?;
    put_quarantine(store, vec![raw("{", 3)]).await?;
    ensure_eq!(
        store.load_quarantine(None, 10).await?,
        [raw("{", 3), raw("[", 2)],
        "the quarantine"
    );
    Ok(())
}

async fn quarantined_rows_are_answered_latest_first(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let elsewhere = QuarantinedRow {
        target: target("notes", "ada"),
        ..raw("c", 9)
    };
    put_quarantine(
        store,
        vec![raw("a", 2), raw("b", 7), elsewhere.clone(), raw("d", 4)],
    )
    .await?;
    let all = [elsewhere, raw("b", 7), raw("d", 4), raw("a", 2)];
    ensure_eq!(
        store.load_quarantine(None, 10).await?,
        all,
        "all quarantined rows"
    );
    ensure_eq!(
        store.load_quarantine(None, 2).await?,
        all[..2],
        "two quarantined rows"
    );
    ensure_eq!(
        store.load_quarantine(Some(&todos()), 10).await?,
        all[1..],
        "quarantined rows of one target"
    );
    Ok(())
}

async fn a_record_that_is_understood_leaves_the_quarantine(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let twin = QuarantinedRow {
        target: target("todos", "bob"),
        seen_at: at(0),
        ..quarantined("r")
    };
    put_quarantine(store, vec![quarantined("r"), twin.clone(), raw("{", 5)]).await?;
    let understood = vec![(todos(), vec![id("r"), id("never broken")])];
    commit(
        store,
        ChangeSet {
            understood,
            ..ChangeSet::at(at(2))
        },
    )
    .await?;
    ensure_eq!(
        store.load_quarantine(None, 10).await?,
        [raw("{", 5), twin],
        "the quarantine"
    );
    Ok(())
}

async fn a_setting_is_written_replaced_and_removed(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    ensure_eq!(
        store.load_setting("name").await?,
        None,
        "a setting that was never written"
    );
    for value in [
        Some("first"),
        Some(""),
        Some("'quoted' \u{1F980}"),
        None,
        Some("again"),
    ] {
        let settings = vec![("name".to_owned(), value.map(str::to_owned))];
        commit(
            store,
            ChangeSet {
                settings,
                ..ChangeSet::at(at(1))
            },
        )
        .await?;
        ensure_eq!(store.load_setting("name").await?.as_deref(), value, "the setting");
        ensure_eq!(
            store.load_setting("NAME").await?,
            None,
            "a setting whose name differs in case"
        );
    }
    Ok(())
}

async fn the_clock_keeps_the_greatest_stamp(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    ensure_eq!(store.load_clock().await?, None, "the clock of an empty store");
    let stamps = [
        stamp(5),
        stamp(3),
        Stamp::new(stamp(5).millis(), 1, NODE),
        stamp(4),
        Stamp::new(stamp(5).millis(), 1, 0),
    ];
    for (given, greatest) in [0, 0, 2, 2, 2].into_iter().enumerate() {
        commit(
            store,
            ChangeSet {
                clock: Some(stamps[given]),
                ..ChangeSet::at(at(1))
            },
        )
        .await?;
        ensure_eq!(
            store.load_clock().await?,
            Some(stamps[greatest]),
            "the clock after stamp {given}"
        );
    }
    commit(store, ChangeSet::at(at(2))).await?;
    ensure_eq!(
        store.load_clock().await?,
        Some(stamps[2]),
        "the clock after a commit without a stamp"
    );
    Ok(())
}

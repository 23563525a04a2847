//! All that a store can tell, to compare before with after.

use std::collections::BTreeMap;

use sync_core::{
    ChangeSet, ConflictQuery, ConflictRecord, Incomplete, LocalStore, MalformedRow, OpChange, OpKind,
    OpQuery, OpState, OpStateKind, Pass, PendingOp, QuarantinedRow, RecordKey, RecordState, RemoteState,
    Settlement, Stamp, SyncPoint, Target, TargetState,
};

use crate::{
    case::Verdict,
    sample::{
        at, confirmed_row, id, key, live, op, op_id, page, payload, pending_row, stamp, target, todos, uuid,
    },
};

/// The answers of every reading function about the records and targets of [`full_change_set`].
#[derive(Debug, PartialEq)]
pub(super) struct Everything {
    records: Vec<RecordState>,
    ops: Vec<PendingOp>,
    counts: BTreeMap<OpStateKind, u64>,
    targets: Vec<TargetState>,
    listed: Vec<Target>,
    conflicts: Vec<ConflictRecord>,
    quarantine: Vec<QuarantinedRow>,
    settings: Vec<Option<String>>,
    clock: Option<Stamp>,
}

pub(super) async fn everything(store: &dyn LocalStore) -> Verdict<Everything> {
    let mut listed = store.list_targets().await?;
    listed.sort();
    let counts = store.count_ops(None).await?.by_state;
    Ok(Everything {
        records: store.load_records(&keys()).await?,
        ops: store.load_ops(&OpQuery::default()).await?,
        counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
        targets: vec![
            store.load_target(&todos()).await?,
            store.load_target(&target("notes", "ada")).await?,
        ],
        listed,
        conflicts: store.load_conflicts(&ConflictQuery::default()).await?,
        quarantine: store.load_quarantine(None, 100).await?,
        settings: vec![
            store.load_setting("kept").await?,
            store.load_setting("new").await?,
        ],
        clock: store.load_clock().await?,
    })
}

fn keys() -> Vec<RecordKey> {
    [
        "written",
        "confirmed",
        "marked",
        "removed",
        "settled",
        "waiting",
        "guarded",
        "touched",
    ]
    .map(key)
    .to_vec()
}

/// What must be there for [`full_change_set`] to change something with every part.
pub(super) fn groundwork() -> ChangeSet {
    let blocked = PendingOp {
        state: OpState::Blocked { by: op_id(1) },
        ..update_of("waiting", 2)
    };
    let row = |name: &str| (id(name), live(r#"{"title":"old"}"#, 1));
    ChangeSet {
        records: vec![
            pending_row(&key("settled"), 0, r#"{"title":"mine"}"#, 1),
            pending_row(&key("waiting"), 0, r#"{"title":"mine"}"#, 1),
        ],
        confirmed: vec![page(
            &todos(),
            0,
            [
                row("marked"),
                row("removed"),
                row("guarded"),
                row("touched"),
                row("confirmed"),
            ],
        )],
        ops: vec![
            OpChange::Append(update_of("settled", 1)),
            OpChange::Append(blocked),
        ],
        quarantine: vec![quarantined("understood")],
        settings: vec![("kept".into(), Some("old".into()))],
        clock: Some(stamp(2)),
        ..ChangeSet::at(at(1))
    }
}

/// A change set with something in every part, on top of [`groundwork`].
pub(super) async fn full_change_set(store: &dyn LocalStore) -> Verdict<ChangeSet> {
    let states = store
        .load_records(&[key("settled"), key("guarded"), key("touched")])
        .await?;
    Ok(ChangeSet {
        fence: None,
        gives_back: false,
        guards: vec![(key("guarded"), states[1].revision)],
        records: vec![
            pending_row(&key("written"), 0, r#"{"title":"new"}"#, 1),
            confirmed_row(
                &key("settled"),
                states[0].revision,
                live(r#"{"title":"mine"}"#, 2),
            ),
        ],
        touches: vec![(key("touched"), states[2].revision)],
        confirmed: vec![page(
            &todos(),
            3,
            [(id("confirmed"), live(r#"{"title":"theirs"}"#, 2))],
        )],
        marks: vec![(todos(), vec![id("marked")], 3)],
        removals: vec![key("removed")],
        ops: vec![
            OpChange::Append(op(&key("written"), 3, OpKind::Create, Some(r#"{"title":"new"}"#))),
            OpChange::Remove(op_id(1)),
        ],
        unblock: vec![op_id(1)],
        targets: vec![pulled(todos())],
        conflicts: vec![conflict(1)],
        quarantine: vec![quarantined("broken")],
        understood: vec![(todos(), vec![id("understood")])],
        settings: vec![("kept".into(), None), ("new".into(), Some("value".into()))],
        clock: Some(stamp(3)),
        now: at(2),
    })
}

fn update_of(name: &str, number: u64) -> PendingOp {
    op(&key(name), number, OpKind::Update, Some(r#"{"title":"mine"}"#))
}

/// A target state with a value in every field.
pub(super) fn pulled(target: Target) -> TargetState {
    TargetState {
        sync_point: Some(SyncPoint::new("epoch 7/\u{1F980} 'row' 12")),
        incomplete: Some(Incomplete::Evicted),
        as_of: Some(at(5)),
        pulled_at: Some(at(6)),
        swept_at: Some(at(7)),
        generation: 9,
        pass: Some(Pass::Resync),
        failures: 3,
        next_attempt_at: at(8),
        ..TargetState::new(target)
    }
}

/// A settled conflict of the record `settled`, found at the second `number`.
pub(super) fn conflict(number: u64) -> ConflictRecord {
    ConflictRecord {
        conflict_id: uuid(number),
        key: key("settled"),
        base: Some(payload(r#"{"title":"old"}"#)),
        local: None,
        local_stamp: stamp(number),
        remote: RemoteState::Missing,
        detected_at: at(i64::try_from(number).unwrap_or(0)),
        settlement: Some(Settlement::TookRemote),
        settled_at: Some(at(50)),
    }
}

/// A quarantined row with an id.
pub(super) fn quarantined(name: &str) -> QuarantinedRow {
    QuarantinedRow {
        target: todos(),
        row: MalformedRow {
            id: Some(id(name)),
            raw: "{\"title\":".into(),
            error: "the text ends too early".into(),
        },
        seen_at: at(1),
    }
}

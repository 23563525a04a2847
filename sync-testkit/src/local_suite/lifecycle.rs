//! Opening, restarting, closing, and batches of real size.

use sync_core::{
    ChangeSet, ErrorKind, LocalStore, LocalStoreExt, OpChange, OpQuery, RecordKey, query::QuerySpec,
};

use super::{
    LocalContext,
    everything::{everything, full_change_set, groundwork},
    schemas,
};
use crate::{
    case::{Case, Stop, Verdict, cases, ensure, ensure_eq},
    sample::{at, commit, confirm, key, live, op_id, page, pending_row, todos, update},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "" a_fresh_store_is_empty,
        "P1 P2 P3" a_restart_keeps_everything,
        "P9" a_restart_keeps_the_order_of_the_queue,
        "" registering_again_removes_nothing,
        "" an_index_on_a_field_with_records_changes_no_answer,
        "" a_closed_store_answers_stopped,
        "P17" a_thousand_records_are_written_and_read_at_once,
        "P17" a_thousand_operations_are_written_and_removed_at_once,
    ]
}

async fn a_fresh_store_is_empty(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    ensure_eq!(store.list_targets().await?, [], "the targets");
    ensure_eq!(store.load_ops(&OpQuery::default()).await?, [], "the operations");
    ensure_eq!(
        store.load_conflicts(&Default::default()).await?,
        [],
        "the conflicts"
    );
    ensure_eq!(store.load_quarantine(None, 10).await?, [], "the quarantine");
    ensure_eq!(store.load_clock().await?, None, "the clock");
    ensure_eq!(store.count(&todos(), None).await?, 0, "the number of records");
    Ok(())
}

async fn a_restart_keeps_everything(context: &LocalContext<'_>) -> Verdict {
    let empty = everything(&*context.store).await?;
    commit(&*context.store, groundwork()).await?;
    commit(&*context.store, full_change_set(&*context.store).await?).await?;
    let before = everything(&*context.store).await?;
    let reopened = context.reopened().await?;
    let after = everything(&*reopened).await?;
    if reopened.info().durable {
        ensure_eq!(after, before, "the store after a restart");
    } else {
        ensure!(
            after == before || after == empty,
            "a restart left a part of the store: {after:?}"
        );
    }
    commit(&*reopened, confirm(&key("after the restart"), "{}", 1)).await
}

async fn a_restart_keeps_the_order_of_the_queue(context: &LocalContext<'_>) -> Verdict {
    let put = |store: std::sync::Arc<dyn LocalStore>, number: u64| async move {
        let record = key(&format!("r{}", 9 - number));
        super::queue::put_queue(&*store, &record, vec![update(&record, number)]).await
    };
    put(context.store.clone(), 1).await?;
    put(context.store.clone(), 2).await?;
    let store = context.reopened().await?;
    put(store.clone(), 3).await?;
    let ids: Vec<_> = store
        .load_ops(&OpQuery::default())
        .await?
        .into_iter()
        .map(|op| op.op_id)
        .collect();
    let kept = [op_id(1), op_id(2), op_id(3)];
    let lost_at_restart = !store.info().durable && ids == kept[2..];
    ensure!(
        ids == kept || lost_at_restart,
        "the queue after a restart is {ids:?}"
    );
    Ok(())
}

async fn registering_again_removes_nothing(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, groundwork()).await?;
    let before = everything(store).await?;
    store.register(&schemas()?).await?;
    store.register(&schemas()?[..1]).await?;
    store.register(&[]).await?;
    ensure_eq!(
        everything(store).await?,
        before,
        "the store after registering again"
    );
    Ok(())
}

async fn an_index_on_a_field_with_records_changes_no_answer(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for (number, title) in (0..).zip([
        r#""tea""#,
        "7",
        "null",
        "[1]",
        r#"{"a":1}"#,
        "\"\u{1F980}\"",
        "true",
    ]) {
        commit(
            store,
            confirm(
                &key(&format!("r{number}")),
                &format!(r#"{{"title":{title},"n.x":{number}}}"#),
                1,
            ),
        )
        .await?;
    }
    let all = QuerySpec::new().order_by(sync_core::query::OrderBy::asc("title"));
    let before = store.query(&todos(), &all).await?;
    let mut schemas = schemas()?;
    schemas[0] = schemas[0]
        .clone()
        .with_index("n.x")
        .with_index("a.b.c")
        .with_index("it's \"quoted\"");
    store.register(&schemas).await?;
    ensure_eq!(
        store.query(&todos(), &all).await?,
        before,
        "the answer with more indexes"
    );
    Ok(())
}

async fn a_closed_store_answers_stopped(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, groundwork()).await?;
    store.close().await?;
    let stopped = |what: &str, error: Option<sync_core::SyncError>| match error {
        Some(error) if error.kind() == ErrorKind::Stopped => Ok(()),
        other => Err(Stop::failed(format!("{what} after close was answered {other:?}"))),
    };
    stopped("load_records", store.load_records(&[key("settled")]).await.err())?;
    stopped("load_ops", store.load_ops(&OpQuery::default()).await.err())?;
    stopped("query", store.query(&todos(), &QuerySpec::new()).await.err())?;
    stopped("commit", store.commit(confirm(&key("late"), "{}", 1)).await.err())
}

async fn a_thousand_records_are_written_and_read_at_once(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let keys: Vec<RecordKey> = (0..1_000).map(|number| key(&format!("r{number:04}"))).collect();
    for round in 1..=2 {
        let rows = keys
            .iter()
            .map(|key| (key.id.clone(), live(&format!(r#"{{"round":{round}}}"#), round)));
        commit(
            store,
            ChangeSet {
                confirmed: vec![page(&todos(), 0, rows)],
                ..ChangeSet::at(at(round))
            },
        )
        .await?;
        let states = store.load_records(&keys).await?;
        let current = states
            .iter()
            .filter(|state| state.base.version() == Some(&crate::sample::version(round)))
            .count();
        ensure_eq!(current, 1_000, "records in the state of round {round}");
    }
    let ids: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
    ensure_eq!(
        store.load_summaries(&todos(), &ids).await?.len(),
        1_000,
        "summaries"
    );
    let marks = vec![(todos(), ids, 7)];
    commit(
        store,
        ChangeSet {
            marks,
            ..ChangeSet::at(at(9))
        },
    )
    .await?;
    ensure_eq!(
        store.load_unmarked(&todos(), 7, None, 10).await?,
        [],
        "unmarked records"
    );
    commit(
        store,
        ChangeSet {
            removals: keys,
            ..ChangeSet::at(at(9))
        },
    )
    .await?;
    ensure_eq!(
        store.count(&todos(), None).await?,
        0,
        "records after removing all"
    );
    Ok(())
}

async fn a_thousand_operations_are_written_and_removed_at_once(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let record = |number: u64| key(&format!("r{:04}", 9_999 - number));
    let enqueue = ChangeSet {
        records: (1..=1_000)
            .map(|number| pending_row(&record(number), 0, "{}", 1))
            .collect(),
        ops: (1..=1_000)
            .map(|number| OpChange::Append(update(&record(number), number)))
            .collect(),
        ..ChangeSet::at(at(1))
    };
    commit(store, enqueue).await?;
    let heads = store
        .load_ops(&OpQuery {
            heads_only: true,
            ..OpQuery::default()
        })
        .await?;
    ensure_eq!(heads.len(), 1_000, "heads");
    ensure!(
        (1..).zip(&heads).all(|(number, op)| op.op_id == op_id(number)),
        "the queue is out of order"
    );
    let by_ids = OpQuery {
        op_ids: Some((1..=1_000).map(op_id).collect()),
        ..OpQuery::default()
    };
    ensure_eq!(store.load_ops(&by_ids).await?.len(), 1_000, "operations by id");
    let discard = ChangeSet {
        removals: (1..=1_000).map(record).collect(),
        ops: (1..=1_000)
            .map(|number| OpChange::Remove(op_id(number)))
            .collect(),
        ..ChangeSet::at(at(2))
    };
    commit(store, discard).await?;
    ensure_eq!(
        store.count_ops(None).await?.total(),
        0,
        "operations after removing all"
    );
    ensure_eq!(
        store.load_record(&record(1)).await?.revision,
        0,
        "the revision of a removed record"
    );
    Ok(())
}

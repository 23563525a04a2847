//! Queries on the view. Their exact meaning is the subject of [`crate::query_suite`].

use sync_core::{
    ChangeSet, ErrorKind, LocalRecord, LocalStore, OpChange, OpKind, RecordWrite,
    query::{Filter, OrderBy, QuerySpec},
};

use super::LocalContext;
use crate::{
    case::{Case, Stop, Verdict, cases, ensure_eq},
    sample::{at, commit, confirm, deleted, enqueue, id, key, live, op, page, payload, pending_row, todos},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P18" a_query_answers_the_view_and_says_what_is_pending,
        "P8" records_deleted_on_either_side_are_left_out,
        "P15" records_marked_as_deleted_are_left_out_of_queries_and_counts,
        "P15" a_count_is_the_number_of_records_that_match,
        "P15" filters_orders_and_limits_are_applied,
        "P15" a_query_that_means_nothing_is_invalid,
    ]
}

async fn titled(store: &dyn LocalStore, spec: &QuerySpec) -> Verdict<Vec<String>> {
    Ok(store
        .query(&todos(), spec)
        .await?
        .into_iter()
        .map(|record| record.id.to_string())
        .collect())
}

async fn a_query_answers_the_view_and_says_what_is_pending(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("clean"), r#"{"title":"tea"}"#, 1)).await?;
    commit(store, confirm(&key("edited"), r#"{"title":"old"}"#, 1)).await?;
    let row = RecordWrite {
        base: live(r#"{"title":"old"}"#, 1),
        schema_version: 3,
        ..pending_row(&key("edited"), 1, r#"{"title":"new"}"#, 1)
    };
    let ops = vec![OpChange::Append(op(
        &key("edited"),
        1,
        OpKind::Update,
        Some(r#"{"title":"new"}"#),
    ))];
    commit(
        store,
        ChangeSet {
            records: vec![row],
            ops,
            ..ChangeSet::at(at(2))
        },
    )
    .await?;
    let record = |name: &str, text: &str, schema_version, pending| LocalRecord {
        id: id(name),
        payload: payload(text),
        schema_version,
        pending,
    };
    let expected = [
        record("clean", r#"{"title":"tea"}"#, 1, false),
        record("edited", r#"{"title":"new"}"#, 3, true),
    ];
    ensure_eq!(
        store.query(&todos(), &QuerySpec::new()).await?,
        expected,
        "the answer"
    );
    let old = QuerySpec::new().filter(Filter::eq("title", "old"));
    ensure_eq!(
        titled(store, &old).await?,
        [""; 0],
        "records found by what they held before the edit"
    );
    Ok(())
}

async fn records_deleted_on_either_side_are_left_out(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let confirmed = vec![page(
        &todos(),
        0,
        [(id("there"), deleted(1)), (id("kept"), live("{}", 1))],
    )];
    commit(
        store,
        ChangeSet {
            confirmed,
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    let row = RecordWrite {
        view: None,
        base: live("{}", 1),
        ..pending_row(&key("here"), 0, "{}", 1)
    };
    let ops = vec![OpChange::Append(op(&key("here"), 1, OpKind::Delete, None))];
    commit(
        store,
        ChangeSet {
            records: vec![row],
            ops,
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    ensure_eq!(
        titled(store, &QuerySpec::new()).await?,
        ["kept"],
        "the records of the view"
    );
    ensure_eq!(store.count(&todos(), None).await?, 1, "the number of records");
    Ok(())
}

async fn records_marked_as_deleted_are_left_out_of_queries_and_counts(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let contents = [
        ("kept missing", "{}"),
        ("kept null", r#"{"deleted_at":null}"#),
        ("kept false", r#"{"deleted_at":false}"#),
        ("kept empty", r#"{"deleted_at":""}"#),
        ("marked true", r#"{"deleted_at":true}"#),
        ("marked time", r#"{"deleted_at":1700000000000000}"#),
        ("marked zero", r#"{"deleted_at":0}"#),
        ("marked text", r#"{"deleted_at":"2025-01-01T00:00:00Z"}"#),
    ];
    let rows = contents.iter().map(|(name, text)| (id(name), live(text, 1)));
    commit(
        store,
        ChangeSet {
            confirmed: vec![page(&todos(), 0, rows)],
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    let kept = ["kept empty", "kept false", "kept missing", "kept null"];
    ensure_eq!(
        titled(store, &QuerySpec::new()).await?,
        kept,
        "the records of the view"
    );
    ensure_eq!(store.count(&todos(), None).await?, 4, "the number of records");
    let any_mark = Filter::is_not_null("deleted_at");
    ensure_eq!(
        store.count(&todos(), Some(&any_mark)).await?,
        2,
        "the number of records that match"
    );
    let second = QuerySpec::new().limit(1).offset(1);
    ensure_eq!(
        titled(store, &second).await?,
        ["kept false"],
        "the second record of the view"
    );
    Ok(())
}

async fn a_count_is_the_number_of_records_that_match(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for number in 1..=5 {
        commit(
            store,
            enqueue(
                &key(&format!("r{number}")),
                number,
                &format!(r#"{{"n":{number}}}"#),
            ),
        )
        .await?;
    }
    ensure_eq!(store.count(&todos(), None).await?, 5, "the number of all records");
    ensure_eq!(
        store.count(&todos(), Some(&Filter::gt("n", 3))).await?,
        2,
        "the number of records that match"
    );
    ensure_eq!(
        store.count(&todos(), Some(&Filter::gt("n", 9))).await?,
        0,
        "the number where none matches"
    );
    Ok(())
}

async fn filters_orders_and_limits_are_applied(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for (number, name) in (1..).zip(["c", "a", "d", "b"]) {
        commit(
            store,
            confirm(
                &key(name),
                &format!(r#"{{"n":{number},"even":{}}}"#, number % 2 == 0),
                1,
            ),
        )
        .await?;
    }
    let by_number = QuerySpec::new().order_by(OrderBy::desc("n"));
    ensure_eq!(
        titled(store, &by_number).await?,
        ["b", "d", "a", "c"],
        "records by number, descending"
    );
    let page = by_number.clone().offset(1).limit(2);
    ensure_eq!(titled(store, &page).await?, ["d", "a"], "the middle two");
    let even = by_number.clone().filter(Filter::eq("even", true));
    ensure_eq!(titled(store, &even).await?, ["b", "a"], "records that match");
    let first = store.query(&todos(), &by_number.clone().limit(2)).await?;
    let Some(last) = first.last() else {
        return Err(Stop::failed("the first page is empty"));
    };
    let next = by_number
        .clone()
        .after(by_number.keyset_after(&last.id, &last.payload)?);
    ensure_eq!(
        titled(store, &next).await?,
        ["a", "c"],
        "the page after a position"
    );
    Ok(())
}

async fn a_query_that_means_nothing_is_invalid(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("r"), "{}", 1)).await?;
    for spec in [
        QuerySpec::new().filter(Filter::eq("a..b", 1)),
        QuerySpec::new().filter(Filter::like("title", "lone backslash \\")),
        QuerySpec::new().filter(Filter::gt("n", f64::NAN)),
        QuerySpec::new().order_by(OrderBy::asc("")),
    ] {
        match store.query(&todos(), &spec).await {
            Err(error) => ensure_eq!(
                error.kind(),
                ErrorKind::Invalid,
                "the kind of the error about {spec:?}"
            ),
            Ok(found) => return Err(Stop::failed(format!("{spec:?} was answered {found:?}"))),
        }
    }
    Ok(())
}

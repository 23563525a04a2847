//! Reading without a cursor: get, listing of ids, search, server time.

use std::{collections::BTreeSet, time::Duration};

use sync_core::{
    ErrorKind, Payload, RecordId, RemoteState, SearchSupport, SyncError,
    query::{Filter, OrderBy, QuerySpec, evaluate},
};

use super::{
    context::{FIELDS, RemoteContext, ensure_live},
    replica::list_all,
};
use crate::case::{Case, Stop, Verdict, cases, ensure, ensure_eq};

/// A time that is worked out from `Date` headers, which have whole seconds, is corrected by less than one.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "" capabilities_have_a_sound_strategy_and_do_not_change,
        "" get_answers_one_state_for_each_id_in_order,
        "P6" ids_are_listed_completely_in_pages_of_any_size,
        "P6" a_listing_skips_no_record_that_stays_while_others_come_and_go,
        "P15" a_search_answers_as_the_reference_evaluator_does,
        "P15" a_search_that_means_nothing_is_refused,
        "" the_server_time_is_told_where_announced,
    ]
}

/// Fails unless the error says that the remote cannot do it, and names what.
fn ensure_unsupported(error: &SyncError) -> Verdict {
    ensure_eq!(error.kind(), ErrorKind::Unsupported, "the kind of the error");
    ensure!(
        error.field().is_some(),
        "`Unsupported` names neither field nor operator: {error}"
    );
    Ok(())
}

async fn capabilities_have_a_sound_strategy_and_do_not_change(context: &RemoteContext<'_>) -> Verdict {
    context.capabilities.check()?;
    context.put(1, "tea").await?;
    ensure_eq!(
        context.remote.capabilities(),
        context.capabilities,
        "the capabilities after a push"
    );
    ensure!(!context.remote.name().is_empty(), "the remote has no name");
    Ok(())
}

async fn get_answers_one_state_for_each_id_in_order(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    context.apply(context.delete(&context.key(2), None)).await?;
    let asked = [3, 9, 1, 2].map(|number| context.id(number));
    let states = context.remote.get(&context.todos(), &asked).await?;
    ensure_eq!(states.len(), asked.len(), "the number of states");
    ensure_live(&states[0], &context.titled(&context.key(3), "3"), &FIELDS)?;
    ensure_eq!(states[1], RemoteState::Missing, "the state of an unknown record");
    ensure_live(&states[2], &context.titled(&context.key(1), "1"), &FIELDS)?;
    ensure!(
        !states[3].is_live(),
        "the state of a deleted record is {:?}",
        states[3]
    );
    ensure_eq!(
        context.remote.get(&context.todos(), &[]).await?,
        [],
        "the states of no records"
    );
    let many: Vec<RecordId> = (1..=300).map(|number| context.id(number)).collect();
    ensure_eq!(
        context.remote.get(&context.todos(), &many).await?.len(),
        300,
        "the number of states of 300 ids"
    );
    Ok(())
}

/// `true` if ids can be listed; else the refusal is checked.
async fn lists_ids(context: &RemoteContext<'_>) -> Verdict<bool> {
    if context.capabilities.id_list {
        return Ok(true);
    }
    match context.remote.list_ids(&context.todos(), None, 10).await {
        Err(error) => ensure_unsupported(&error).map(|()| false),
        Ok(page) => Err(Stop::failed(format!(
            "`id_list` is not announced, but answered {page:?}"
        ))),
    }
}

async fn ids_are_listed_completely_in_pages_of_any_size(context: &RemoteContext<'_>) -> Verdict {
    if !lists_ids(context).await? {
        return Ok(());
    }
    context.put_all(1..=9).await?;
    context.apply(context.delete(&context.key(4), None)).await?;
    let expected: BTreeSet<RecordId> = (1..=9)
        .filter(|n| *n != 4)
        .map(|number| context.id(number))
        .collect();
    for limit in [1, 2, 8, 1_000] {
        let listed = list_all(context, &context.todos(), limit).await?;
        let ids: BTreeSet<RecordId> = listed.iter().map(|(id, _)| id.clone()).collect();
        ensure_eq!(ids, expected, "the ids listed in pages of {limit}");
        for (id, version) in listed.into_iter().filter(|(_, version)| version.is_some()) {
            let state = context.remote.get(&context.todos(), &[id]).await?;
            ensure_eq!(
                version.as_ref(),
                state[0].version(),
                "a version that the listing tells"
            );
        }
    }
    Ok(())
}

async fn a_listing_skips_no_record_that_stays_while_others_come_and_go(
    context: &RemoteContext<'_>,
) -> Verdict {
    if !lists_ids(context).await? {
        return Ok(());
    }
    context.put_all(10..=19).await?;
    let (mut listed, mut after, mut gone) = (BTreeSet::new(), None, (10..=14).chain(16..=18));
    for round in 0..200 {
        let page = context
            .remote
            .list_ids(&context.todos(), after.as_deref(), 2)
            .await?;
        listed.extend(page.ids.into_iter().map(|(id, _)| id));
        after = page.next;
        if after.is_none() {
            let staying = BTreeSet::from([15, 19].map(|number| context.id(number)));
            ensure!(
                listed.is_superset(&staying),
                "of {staying:?}, some are not in {listed:?}"
            );
            return Ok(());
        }
        if let Some(number) = gone.next() {
            context.apply(context.delete(&context.key(number), None)).await?;
            context.put(100 + round, "came meanwhile").await?;
        }
    }
    Err(Stop::failed(
        "a listing of about 10 records has more than 200 pages of 2",
    ))
}

fn searches() -> Vec<QuerySpec> {
    vec![
        QuerySpec::new(),
        QuerySpec::new().filter(Filter::eq("title", "tea")),
        QuerySpec::new().filter(Filter::neq("title", "tea")),
        QuerySpec::new()
            .filter(Filter::gt("count", 1))
            .order_by(OrderBy::desc("count")),
        QuerySpec::new().filter(Filter::lte("count", 2).and(Filter::eq("done", false))),
        QuerySpec::new().filter(Filter::like("title", "%e_%")),
        QuerySpec::new().filter(Filter::like("title", "100\\%")),
        QuerySpec::new().filter(Filter::starts_with("title", "T")),
        QuerySpec::new().filter(Filter::contains("title", "il")),
        QuerySpec::new().filter(Filter::is_null("note")),
        QuerySpec::new().filter(Filter::is_not_null("note")),
        QuerySpec::new().filter(Filter::in_list("title", ["tea", "Tea", "nothing"])),
        QuerySpec::new().filter(!Filter::eq("title", "tea").or(Filter::gt("count", 2))),
        QuerySpec::new().filter(Filter::eq("title", "it's \"quoted\"")),
        QuerySpec::new()
            .order_by(OrderBy::asc("title"))
            .order_by(OrderBy::desc("count")),
        QuerySpec::new().order_by(OrderBy::asc("note")).limit(3).offset(1),
        QuerySpec::new().filter(Filter::eq("$id", "nobody")),
        QuerySpec::new().limit(0),
    ]
}

async fn put_searched(context: &RemoteContext<'_>) -> Verdict<Vec<(RecordId, Payload)>> {
    let contents = [
        ("tea", 1, None),
        ("Tea", 2, Some("green")),
        ("milk", 3, None),
        ("100%", 2, Some("")),
        ("100 percent", 2, None),
        ("it's \"quoted\"", 1, Some("a_b")),
        ("\u{e9}t\u{e9}", 5, None),
    ];
    let mut rows = Vec::new();
    for (number, (title, count, note)) in (1..).zip(contents) {
        let key = context.key(number);
        let mut fields = context.counted(&key, title, count).to_object()?;
        if let Some(note) = note {
            fields.insert("note".into(), note.into());
        }
        let record = Payload::from_object(&fields);
        context.apply(context.create(&key, record.clone())).await?;
        rows.push((key.id, record));
    }
    Ok(rows)
}

async fn a_search_answers_as_the_reference_evaluator_does(context: &RemoteContext<'_>) -> Verdict {
    let rows = put_searched(context).await?;
    for spec in searches() {
        match context.remote.search(&context.todos(), &spec).await {
            Ok(page) => {
                ensure!(
                    context.capabilities.search != SearchSupport::None,
                    "`search` is none, but answered {page:?}"
                );
                let expected: Vec<RecordId> = evaluate(&spec, rows.clone())?
                    .into_iter()
                    .map(|(id, _)| id)
                    .collect();
                let found: Vec<RecordId> = page.hits.iter().map(|(id, _)| id.clone()).collect();
                ensure_eq!(found, expected, "the answer to {spec:?}");
                for (id, hit) in &page.hits {
                    let state = context
                        .remote
                        .get(&context.todos(), std::slice::from_ref(id))
                        .await?;
                    ensure_eq!(
                        Some(&hit.version),
                        state[0].version(),
                        "the version of the hit {id}"
                    );
                }
            }
            Err(error) => {
                ensure_unsupported(&error)?;
                ensure!(
                    context.capabilities.search != SearchSupport::Full,
                    "`search` is full, but {error}"
                );
            }
        }
    }
    Ok(())
}

async fn a_search_that_means_nothing_is_refused(context: &RemoteContext<'_>) -> Verdict {
    put_searched(context).await?;
    let spec = QuerySpec::new().filter(Filter::eq("a..b", 1));
    match context.remote.search(&context.todos(), &spec).await {
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(()),
        Err(error) if context.capabilities.search != SearchSupport::Full => ensure_unsupported(&error),
        other => Err(Stop::failed(format!(
            "a query with a bad field name was answered {other:?}"
        ))),
    }
}

async fn the_server_time_is_told_where_announced(context: &RemoteContext<'_>) -> Verdict {
    match context.remote.server_time().await {
        Ok(first) => {
            ensure!(
                context.capabilities.server_time,
                "`server_time` is not announced, but answered {first}"
            );
            let second = context.remote.server_time().await?;
            ensure!(
                second.plus(DATE_RESOLUTION) > first,
                "the server's time went back from {first} to {second}"
            );
            Ok(())
        }
        Err(error) => {
            ensure!(
                !context.capabilities.server_time,
                "`server_time` is announced, but answered {error}"
            );
            ensure_unsupported(&error)
        }
    }
}

//! Values and names come back exactly as they were given.

use sync_core::{
    ChangeSet, LocalStore, RemoteState, RemoteVersion, Tombstone, Versioned,
    query::{Filter, QuerySpec},
};

use super::LocalContext;
use crate::{
    case::{Case, Verdict, cases, ensure_eq},
    sample::{at, commit, confirm, enqueue, id, key, live, page, payload, stamp, todos},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "" payloads_come_back_bit_exact,
        "" payloads_of_operations_come_back_bit_exact,
        "" a_payload_of_a_megabyte_comes_back,
        "P14" ids_that_look_alike_are_apart,
        "P15" ids_of_every_shape_are_found_again,
        "P4" versions_stamps_and_times_come_back,
    ]
}

/// Texts whose every byte matters.
pub(crate) fn exacting_payloads() -> Vec<String> {
    let deep = format!("{}1{}", r#"{"d":"#.repeat(60), "}".repeat(60));
    let mut payloads: Vec<String> = [
        "{}",
        r#"{"n":9223372036854775807,"m":-9223372036854775808,"u":18446744073709551615}"#,
        r#"{"beyond":9007199254740993}"#,
        r#"{"tiny":5e-324,"long":0.1000000000000000055511151231257827,"large":1.7976931348623157e308,"zero":-0.0}"#,
        r#"{"form":[1.0,1e0,10E-1,100]}"#,
        r#"{"nul":"a\u0000b","escaped":"\ud83e\udd80\/\"\\\b\f\n\r\t"}"#,
        "{\"emoji\":\"\u{1F980}\u{1F469}\u{200D}\u{1F680}\",\"accents\":\"e\u{301} \u{e9}\",\"edge\":\"\u{FFFF}\u{10FFFF}\"}",
        "{ \"spaces\" :\t1 ,\n\"kept\": true }",
        r#"{"z":1,"a":2,"m":{"y":1,"b":2}}"#,
        r#"{"null":null,"empty":"","list":[],"object":{}}"#,
        r#"{"":"empty key","with.dot":1,"$id":2,"quote\"'key":3,"%_":4}"#,
        r#"{"id":"not the id of the record","scope":"x","payload":"y","rowid":7}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    payloads.push(deep);
    payloads
}

async fn payloads_come_back_bit_exact(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for (number, text) in exacting_payloads().iter().enumerate() {
        let name = format!("r{number}");
        commit(store, confirm(&key(&name), text, 1)).await?;
        let state = &store.load_records(&[key(&name)]).await?[0];
        ensure_eq!(
            state.view.as_ref().map(|view| view.as_str()),
            Some(text.as_str()),
            "the view"
        );
        ensure_eq!(
            state.base.payload().map(|base| base.as_str()),
            Some(text.as_str()),
            "the base"
        );
        let found = store
            .query(&todos(), &QuerySpec::new().filter(Filter::eq("$id", name)))
            .await?;
        ensure_eq!(found.len(), 1, "records found by id");
        ensure_eq!(
            found[0].payload.as_str(),
            text.as_str(),
            "the payload in an answer"
        );
    }
    Ok(())
}

async fn payloads_of_operations_come_back_bit_exact(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for (number, text) in (1..).zip(&exacting_payloads()) {
        let key = key(&format!("r{number}"));
        commit(store, enqueue(&key, number, text)).await?;
        let state = &store.load_records(&[key]).await?[0];
        ensure_eq!(
            state.ops[0].payload,
            Some(payload(text)),
            "the payload of the operation"
        );
        ensure_eq!(state.view, Some(payload(text)), "the view");
    }
    Ok(())
}

async fn a_payload_of_a_megabyte_comes_back(context: &LocalContext<'_>) -> Verdict {
    let text = format!(r#"{{"long":"{}"}}"#, "\u{1F980}".repeat(1 << 18));
    commit(&*context.store, enqueue(&key("r"), 1, &text)).await?;
    let state = &context.store.load_records(&[key("r")]).await?[0];
    let same = state.view == Some(payload(&text)) && state.ops[0].payload == state.view;
    ensure_eq!(same, true, "whether a payload of {} bytes came back", text.len());
    Ok(())
}

/// Ids that a store could take for one another, or for a part of its own language.
fn exacting_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "a",
        "A",
        "a ",
        " a",
        "a%",
        "a_",
        "_a",
        "%",
        "_",
        "'",
        "\"",
        "''",
        "a'b",
        "a\"b",
        "\\",
        "a\\b",
        "/",
        "a/b",
        "?",
        "#",
        "1",
        "01",
        "1.0",
        "-1",
        "NULL",
        "null",
        "true",
        ".",
        "..",
        "e\u{301}",
        "\u{e9}",
        "\u{1F980}",
        "\u{FFFF}",
        "$id",
        "a'; DROP TABLE records; --",
    ]
    .map(str::to_owned)
    .to_vec();
    ids.push("x".repeat(512));
    ids.push(format!("{}y", "x".repeat(511)));
    ids.push("\u{1F980}".repeat(512));
    ids
}

async fn put_ids(store: &dyn LocalStore) -> Verdict<Vec<String>> {
    let ids = exacting_ids();
    let rows = ids
        .iter()
        .enumerate()
        .map(|(number, name)| (id(name), live(&format!(r#"{{"n":{number}}}"#), 1)));
    commit(
        store,
        ChangeSet {
            confirmed: vec![page(&todos(), 0, rows)],
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    Ok(ids)
}

async fn ids_that_look_alike_are_apart(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let ids = put_ids(store).await?;
    let keys: Vec<_> = ids.iter().map(|name| key(name)).collect();
    for (number, state) in store.load_records(&keys).await?.iter().enumerate() {
        ensure_eq!(
            state.view,
            Some(payload(&format!(r#"{{"n":{number}}}"#))),
            "the record {:?}",
            ids[number]
        );
    }
    ensure_eq!(
        store.count(&todos(), None).await?,
        ids.len() as u64,
        "the number of records"
    );
    Ok(())
}

async fn ids_of_every_shape_are_found_again(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let mut ids = put_ids(store).await?;
    for name in &ids {
        let found = store
            .query(
                &todos(),
                &QuerySpec::new().filter(Filter::eq("$id", name.as_str())),
            )
            .await?;
        ensure_eq!(
            found.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(),
            [name],
            "records with the id"
        );
        ensure_eq!(
            store.load_summaries(&todos(), &[id(name)]).await?.len(),
            1,
            "summaries of {name:?}"
        );
    }
    ids.sort();
    let all = store.query(&todos(), &QuerySpec::new()).await?;
    ensure_eq!(
        all.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(),
        ids,
        "ids in the order of their bytes"
    );
    let unmarked: Vec<String> = store
        .load_unmarked(&todos(), 1, None, 1_000)
        .await?
        .iter()
        .map(ToString::to_string)
        .collect();
    ensure_eq!(unmarked, ids, "unmarked ids in the order of their bytes");
    Ok(())
}

async fn versions_stamps_and_times_come_back(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let versions = [
        RemoteVersion::opaque("W/\"\u{1F980} 'x'\""),
        RemoteVersion::opaque(""),
        RemoteVersion::ordered("7", i64::MAX),
        RemoteVersion::ordered("7", i64::MIN),
    ];
    for (number, version) in versions.into_iter().enumerate() {
        let live = Versioned::new(payload("{}"), version.clone());
        let live = live.with_stamp(Some(stamp(3))).with_server_time(Some(at(-1)));
        let tombstone = Tombstone {
            version: Some(version),
            stamp: Some(stamp(4)),
            server_time: Some(at(9)),
        };
        for (kind, state) in [
            ("live", RemoteState::Live(live)),
            ("deleted", RemoteState::Deleted(tombstone)),
        ] {
            let name = format!("{kind}{number}");
            let confirmed = vec![page(&todos(), 0, [(id(&name), state.clone())])];
            commit(
                store,
                ChangeSet {
                    confirmed,
                    ..ChangeSet::at(at(1))
                },
            )
            .await?;
            ensure_eq!(
                store.load_records(&[key(&name)]).await?[0].base,
                state,
                "the base"
            );
        }
    }
    Ok(())
}

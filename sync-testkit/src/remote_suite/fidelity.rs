//! Values and ids arrive as they were sent, or are refused by name.

use sync_core::{Payload, PushOutcome, RecordId, RecordKey, RemoteStoreExt};

use super::{
    context::{FIELDS, RemoteContext, ensure_live},
    replica::Replica,
};
use crate::case::{Case, Stop, Verdict, cases, ensure, ensure_eq};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "" values_arrive_as_they_were_sent,
        "" null_and_missing_stay_apart_from_empty_values,
        "P14" ids_arrive_as_they_were_sent_or_are_refused_by_name,
    ]
}

/// Sends the record, and fails unless it arrives in `get` and in a pull, or is refused by the name of a field.
async fn ensure_arrives(context: &RemoteContext<'_>, key: &RecordKey, record: &Payload) -> Verdict {
    match context.push(context.create(key, record.clone())).await? {
        PushOutcome::Applied { .. } => {}
        PushOutcome::Rejected { field: Some(_), .. } => return ensure_not_there(context, key).await,
        other => {
            return Err(Stop::failed(format!(
                "{record:?} as {key} was answered {other:?}"
            )));
        }
    }
    ensure_live(&context.remote.get_one(key).await?, record, &FIELDS)?;
    let mut replica = Replica::new(key.target.clone());
    replica.pull(context, 100).await?;
    ensure_live(&replica.state(&key.id), record, &FIELDS)
}

async fn ensure_not_there(context: &RemoteContext<'_>, key: &RecordKey) -> Verdict {
    let state = context.remote.get_one(key).await?;
    ensure!(!state.is_live(), "a refused create left {state:?}");
    Ok(())
}

async fn values_arrive_as_they_were_sent(context: &RemoteContext<'_>) -> Verdict {
    let texts = [
        "",
        " ",
        "trailing ",
        "\u{1F980}\u{1F469}\u{200D}\u{1F680}",
        "e\u{301} is not \u{e9}",
        "it's \"quoted\" \\ back",
        "%_*",
        "line\nbreak\ttab\r",
        "<script>&amp;",
        "null",
        "2025-01-01T00:00:00Z",
        "007",
        "\u{FFFF}\u{10FFFF}",
        "a\u{0}b",
    ];
    let counts = [0, -1, i64::from(i32::MAX) + 1, (1 << 53) + 1, i64::MAX, i64::MIN];
    let mut number = 0;
    for (title, count) in texts
        .iter()
        .map(|text| (*text, 1))
        .chain(counts.iter().map(|count| ("count", *count)))
    {
        number += 1;
        let key = context.key(number);
        ensure_arrives(context, &key, &context.counted(&key, title, count)).await?;
    }
    let long = "\u{e9}".repeat(20_000);
    let key = context.key(number + 1);
    ensure_arrives(context, &key, &context.titled(&key, &long)).await
}

async fn null_and_missing_stay_apart_from_empty_values(context: &RemoteContext<'_>) -> Verdict {
    for (number, fields) in (1..).zip([r#"{}"#, r#"{"title":null,"done":null,"count":null,"note":null}"#]) {
        let key = context.key(number);
        ensure_arrives(context, &key, &crate::sample::payload(fields)).await?;
        let Some(record) = context.state(number).await?.payload().cloned() else {
            continue;
        };
        let fields = record.to_object()?;
        for field in FIELDS {
            let value = fields.get(field).cloned().unwrap_or_default();
            ensure_eq!(
                value,
                serde_json::Value::Null,
                "the field `{field}`, which was not set"
            );
        }
    }
    Ok(())
}

async fn ids_arrive_as_they_were_sent_or_are_refused_by_name(context: &RemoteContext<'_>) -> Verdict {
    let mut ids: Vec<String> = [
        "a",
        "A",
        "a ",
        "_a",
        "%",
        "it's",
        "\"",
        "a/b",
        "a?b#c",
        "\\",
        "..",
        "\u{1F980}",
        "e\u{301}",
    ]
    .map(str::to_owned)
    .to_vec();
    ids.push("x".repeat(512));
    let mut accepted = Vec::new();
    for text in &ids {
        let key = RecordKey::new(context.todos(), RecordId::new(text.as_str())?);
        ensure_arrives(context, &key, &context.titled(&key, text)).await?;
        if context.remote.get_one(&key).await?.is_live() {
            accepted.push(key);
        }
    }
    // Seen once more when all are there, so that two that were taken for one show.
    for key in accepted {
        ensure_live(
            &context.remote.get_one(&key).await?,
            &context.titled(&key, key.id.as_str()),
            &FIELDS,
        )?;
    }
    let key = context.key(1);
    context
        .apply(context.create(
            &key,
            context.titled(&key, "the fixture's own ids are always accepted"),
        ))
        .await?;
    Ok(())
}

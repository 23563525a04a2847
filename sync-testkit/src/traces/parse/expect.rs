//! What must hold at the end of a trace, and what steps look at.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    faults::pattern,
    reader::{Reader, Result, list, text, unknown},
};
use crate::traces::vocabulary::{CountWord, Expectation, Expected, Rows, ServerOps};

pub(super) fn read(value: &Value, clients: &BTreeSet<String>) -> Result<Vec<Expectation>> {
    let object = Reader::new("expect", value)?;
    let mut all = Vec::new();
    for (word, value) in object.rest() {
        all.push(match word.as_str() {
            client if clients.contains(client) => Expectation::Client(client.to_owned(), rows(word, value)?),
            "remote" => Expectation::Remote(rows(word, value)?),
            "pending" => Expectation::Count(CountWord::Pending, expected(word, value)?),
            "conflicts" => Expectation::Count(CountWord::Conflicts, expected(word, value)?),
            "dead" => Expectation::Count(CountWord::Dead, expected(word, value)?),
            "pushes" => Expectation::Count(CountWord::Pushes, expected(word, value)?),
            "count" => Expectation::Count(CountWord::Rows, expected(word, value)?),
            "server_applied" => Expectation::ServerApplied(expected(word, value)?),
            "server_applied_max" => Expectation::ServerAppliedMax(expected(word, value)?),
            "server_ops" => Expectation::ServerOps(server_ops(value)?),
            "max_push_batch" => Expectation::MaxPushBatch(
                value
                    .as_u64()
                    .ok_or_else(|| format!("`max_push_batch` must be a number, not {value}"))?,
            ),
            "converged" => Expectation::Converged(
                value
                    .as_bool()
                    .ok_or_else(|| format!("`converged` must be true or false, not {value}"))?,
            ),
            // A client that never acts, by its capital letter.
            client if client.starts_with(char::is_uppercase) && client != "S" => {
                Expectation::Client(client.to_owned(), rows(word, value)?)
            }
            other => return Err(unknown(other, "expect")),
        });
    }
    Ok(all)
}

/// Rows by id, a list of ids, or only their number.
pub(super) fn rows(word: &str, value: &Value) -> Result<Rows> {
    match value {
        Value::Object(patterns) => {
            for (id, pattern) in patterns {
                check_pattern(pattern).map_err(|problem| format!("`{word}`, row {id:?}: {problem}"))?;
            }
            Ok(Rows::Patterns(patterns.clone().into_iter().collect()))
        }
        Value::Array(ids) => {
            let any = || Value::String("$any".to_owned());
            let ids: Result<BTreeMap<_, _>> =
                ids.iter().map(|id| Ok((text(word, "id", id)?, any()))).collect();
            ids.map(Rows::Patterns)
        }
        Value::Number(number) => number
            .as_u64()
            .map(Rows::Number)
            .ok_or_else(|| format!("`{word}` cannot be {value}")),
        other => Err(format!("`{word}` must be rows by id, not {other}")),
    }
}

/// A row is fields, `null`, `"$any"`, or one of several of these.
fn check_pattern(pattern: &Value) -> Result<()> {
    match pattern {
        Value::Null => Ok(()),
        Value::String(word) if word == "$any" => Ok(()),
        Value::Object(object) => match object.get("$one_of") {
            Some(options) => list("a row", "$one_of", options)?
                .iter()
                .try_for_each(check_pattern),
            None => match object.keys().find(|key| key.starts_with('$')) {
                Some(word) => Err(unknown(word, "a row")),
                None => Ok(()),
            },
        },
        other => Err(format!("a row cannot be {other}")),
    }
}

fn expected(word: &str, value: &Value) -> Result<Expected> {
    let number = |value: &Value| {
        value
            .as_u64()
            .ok_or_else(|| format!("`{word}` must be a number, or one by name, not {value}"))
    };
    match value {
        Value::Object(each) => {
            let each: Result<_> = each
                .iter()
                .map(|(name, value)| Ok((name.clone(), number(value)?)))
                .collect();
            Ok(Expected::Each(each?))
        }
        value => number(value).map(Expected::All),
    }
}

fn server_ops(value: &Value) -> Result<ServerOps> {
    const WORD: &str = "server_ops";
    match value {
        Value::Number(number) => number
            .as_u64()
            .map(ServerOps::Number)
            .ok_or_else(|| format!("`{WORD}` cannot be {value}")),
        Value::Array(ops) => {
            let ops: Result<Vec<_>> = ops
                .iter()
                .map(|op| match op {
                    Value::Object(_) => {
                        let object = Reader::new(WORD, op)?;
                        let kind = object.any(&["op", "type", "kind"]);
                        let kind = kind.map(|kind| text(WORD, "op", kind)).transpose()?;
                        let id = object.needed_text("id")?;
                        object.take("c");
                        object.take("scope");
                        object.finish()?;
                        Ok(match kind {
                            Some(kind) => pattern(&format!("{kind}:{id}")),
                            None => pattern(&id),
                        })
                    }
                    op => Ok(pattern(&text(WORD, "op", op)?)),
                })
                .collect();
            ops.map(ServerOps::List)
        }
        Value::Object(records) => {
            let kinds = |(id, kinds): (&String, &Value)| {
                let kinds: Result<Vec<_>> = list(WORD, id, kinds)?
                    .iter()
                    .map(|kind| text(WORD, id, kind))
                    .collect();
                Ok((id.clone(), kinds?))
            };
            let records: Result<_> = records.iter().map(kinds).collect();
            records.map(ServerOps::PerRecord)
        }
        other => Err(format!("`{WORD}` cannot be {other}")),
    }
}

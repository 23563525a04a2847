//! Events of a hybrid logical clock.

use serde_json::Value;

use super::reader::{Reader, Result, list, unknown};
use crate::traces::vocabulary::{Vector, WantedStamp};

pub(super) fn read(value: &Value, max_ahead: Option<&Value>) -> Result<Vec<Vector>> {
    let read = |(index, value): (usize, &Value)| {
        one(value, max_ahead).map_err(|problem| format!("vector {}: {problem}", index + 1))
    };
    list("a trace", "vectors", value)?
        .iter()
        .enumerate()
        .map(read)
        .collect()
}

fn one(value: &Value, max_ahead: Option<&Value>) -> Result<Vector> {
    let object = Reader::new("a vector", value)?;
    let op = object.needed_text("op")?;
    let local = pair("local", object.take("local"))?;
    let remote = object.take("remote");
    let received = match op.as_str() {
        "send" => None,
        "recv" => Some(pair("remote", remote)?),
        other => return Err(unknown(other, "`op` of a vector")),
    };
    let now = object.integer("now")?.ok_or("a vector needs `now`")?;
    let own = object.take("max_drift").or(max_ahead);
    let max_ahead = own.map(|value| {
        value
            .as_u64()
            .ok_or_else(|| format!("`max_drift` must be a number, not {value}"))
    });
    let want = match object.take("want") {
        Some(Value::String(word)) if word == "drift" => WantedStamp::Drift,
        Some(Value::String(word)) if word == "overflow" => WantedStamp::Overflow,
        Some(Value::String(word)) => return Err(unknown(word, "`want`")),
        other => {
            let (millis, counter) = pair("want", other)?;
            WantedStamp::Stamp(millis, counter)
        }
    };
    let vector = Vector {
        received,
        local,
        now,
        max_ahead: max_ahead.transpose()?,
        want,
    };
    for prose in ["id", "name"] {
        object.take(prose);
    }
    object.finish()?;
    Ok(vector)
}

fn pair(word: &str, value: Option<&Value>) -> Result<(u64, u64)> {
    let numbers: Option<Vec<u64>> = value
        .and_then(Value::as_array)
        .map(|parts| parts.iter().filter_map(Value::as_u64).collect());
    match numbers.as_deref() {
        Some([millis, counter]) => Ok((*millis, *counter)),
        _ => Err(format!("`{word}` of a vector must be [time, counter]")),
    }
}

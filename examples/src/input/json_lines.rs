//! JSON lines as records.

use std::io::BufRead;

use serde_json::Value;
use sync_core::{Payload, RecordId};

use super::{
    InputOptions, InputRecord,
    lines::{Line, Lines},
    problem::{LineProblem, Reason},
};

/// The next line that is not empty, as a record; `None` at the end of the file.
pub(super) fn next_record<R: BufRead>(
    lines: &mut Lines<R>,
    options: &InputOptions,
) -> Result<Option<InputRecord>, LineProblem> {
    while let Some(line) = lines.next()? {
        if line
            .bytes
            .as_ref()
            .is_none_or(|bytes| !bytes.trim_ascii().is_empty())
        {
            let number = line.number;
            return record(line, options)
                .map(Some)
                .map_err(|reason| LineProblem { line: number, reason });
        }
    }
    Ok(None)
}

fn record(line: Line, options: &InputOptions) -> Result<InputRecord, Reason> {
    let bytes = line.bytes.ok_or(Reason::TooLong {
        limit: options.max_record_bytes,
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| Reason::NotUtf8 {
        at: error.valid_up_to() + 1,
    })?;
    let text = text.trim_ascii();
    let value: Value = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let Value::Object(fields) = &value else {
        return Err(Reason::NotAnObject(type_name(&value)));
    };
    let id_field = || options.id_field.clone();
    let id = match fields.get(&options.id_field) {
        None => return Err(Reason::NoId(id_field())),
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) if id.is_i64() || id.is_u64() => id.to_string(),
        Some(other) => {
            return Err(Reason::IdType {
                id_field: id_field(),
                found: type_name(other),
            });
        }
    };
    let id = RecordId::new(id).map_err(|error| Reason::BadId(error.message().to_owned()))?;
    Ok(InputRecord {
        line: line.number,
        id,
        payload: Payload::from_stored(text),
    })
}

fn not_json(error: &serde_json::Error) -> Reason {
    let message = error.to_string();
    // The parser saw one line only, so its " at line 1 column 5" would mislead.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
    Reason::NotJson {
        column: error.column(),
        message,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number that is no integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

//! Values with macros, and whether rows look as they must.

use serde_json::{Map, Value};

use super::vocabulary::Fields;

/// The value with its macros written out: `{"$repeat": [text, n]}` is the text n times.
pub(super) fn expand(value: &Value) -> Value {
    match value {
        Value::Object(object) => match repeated(object) {
            Some(text) => Value::String(text),
            None => Value::Object(expand_fields(object)),
        },
        Value::Array(items) => Value::Array(items.iter().map(expand).collect()),
        other => other.clone(),
    }
}

/// As [`expand`], of all fields.
pub(super) fn expand_fields(fields: &Map<String, Value>) -> Fields {
    fields
        .iter()
        .map(|(field, value)| (field.clone(), expand(value)))
        .collect()
}

fn repeated(object: &Map<String, Value>) -> Option<String> {
    let (1, Some(Value::Array(parts))) = (object.len(), object.get("$repeat")) else {
        return None;
    };
    let [Value::String(text), times] = parts.as_slice() else {
        return None;
    };
    Some(text.repeat(usize::try_from(times.as_u64()?).ok()?))
}

/// What is wrong with a row that should look like `pattern`; `None` if nothing is.
pub(super) fn mismatch(pattern: &Value, row: Option<&Fields>) -> Option<String> {
    match (pattern, row) {
        (Value::Null, None) => None,
        (Value::Null, Some(row)) => Some(format!("is there: {}", shortened(row))),
        (Value::String(word), Some(_)) if word == "$any" => None,
        (Value::Object(object), row) if object.contains_key("$one_of") => {
            let options = object["$one_of"].as_array()?;
            let fits = options.iter().any(|option| mismatch(option, row).is_none());
            (!fits).then(|| format!("is {}, which is none of the options", shortened_row(row)))
        }
        (_, None) => Some("is not there".to_owned()),
        (Value::Object(fields), Some(row)) => fields.iter().find_map(|(field, wanted)| {
            let found = row.get(field);
            (!matches(wanted, found)).then(|| {
                let found = found.map_or_else(|| "nothing".to_owned(), short);
                format!("has `{field}` = {found}, expected {}", short(wanted))
            })
        }),
        (other, Some(_)) => Some(format!("cannot be compared with {other}")),
    }
}

/// Whether a field's value is as it must be. `null` also stands for a field that is not there.
fn matches(wanted: &Value, found: Option<&Value>) -> bool {
    match wanted {
        Value::String(word) if word == "$any" => found.is_some(),
        Value::Object(object) if object.contains_key("$one_of") => object["$one_of"]
            .as_array()
            .is_some_and(|options| options.iter().any(|option| matches(option, found))),
        Value::Null => found.is_none_or(Value::is_null),
        wanted => found.is_some_and(|found| expand(wanted) == *found),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 {
        return text;
    }
    format!(
        "{}... ({} characters)",
        text.chars().take(60).collect::<String>(),
        text.chars().count()
    )
}

fn shortened(row: &Fields) -> String {
    short(&Value::Object(row.clone()))
}

fn shortened_row(row: Option<&Fields>) -> String {
    row.map_or_else(|| "not there".to_owned(), shortened)
}

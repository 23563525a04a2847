//! The circumstances of a trace.

use serde_json::Value;

use super::reader::{Reader, Result, list, text, unknown};
use crate::traces::{
    patterns::expand,
    vocabulary::{Config, OnReject, Strategy, Transform},
};

pub(super) fn read(value: &Value) -> Result<Config> {
    let object = Reader::new("cfg", value)?;
    let mut config = Config::default();
    if let Some(resolver) = object.text("resolver")? {
        config.resolver = strategy(&resolver)?;
    }
    if let Some(scopes) = object.take("scope_resolver") {
        let scopes = Reader::new("cfg.scope_resolver", scopes)?;
        for (scope, value) in scopes.rest() {
            let named = text("cfg.scope_resolver", scope, value)?;
            config.scope_resolver.insert(scope.clone(), strategy(&named)?);
        }
    }
    let limit = |word: &str| -> Result<Option<u32>> {
        let wanted = object.count(word)?;
        wanted
            .map(|wanted| u32::try_from(wanted).ok().filter(|limit| *limit > 0))
            .map(|limit| limit.ok_or_else(|| format!("cfg.{word} must be at least 1")))
            .transpose()
    };
    config.page_size = limit("page_size")?;
    config.push_batch = limit("push_batch")?;
    config.server_max_rows = limit("server_max_rows")?;
    if let Some(transform) = object.take("server_transform") {
        config.server_transform = transforms(transform)?;
    }
    config.on_reject = match object.text("on_reject")?.as_deref() {
        None => None,
        Some("rollback") => Some(OnReject::Rollback),
        Some("keep") => Some(OnReject::Keep),
        Some(other) => return Err(unknown(other, "cfg.on_reject")),
    };
    config.hybrid_clock = match object.text("clock")?.as_deref() {
        None => false,
        Some("hlc") => true,
        Some(other) => return Err(unknown(other, "cfg.clock")),
    };
    // For vectors; read beside them.
    object.take("max_drift");
    object.finish()?;
    Ok(config)
}

fn strategy(name: &str) -> Result<Strategy> {
    let plain: String = name.chars().filter(|c| !c.is_whitespace()).collect();
    Ok(match plain.as_str() {
        "lww" => Strategy::LastWriteWins,
        "server_wins" => Strategy::ServerWins,
        "client_wins" => Strategy::ClientWins,
        "field_merge" => Strategy::FieldMerge { delete_wins: false },
        "field_merge+delete_wins" | "field_merge(+delete_wins)" | "field_merge,delete_wins" => {
            Strategy::FieldMerge { delete_wins: true }
        }
        "field_lww" => Strategy::FieldRegisters,
        "manual" => Strategy::Manual,
        "discard" => Strategy::Discard,
        _ => match name.trim().split_once(':') {
            Some(("max", field)) => Strategy::Max(field.to_owned()),
            Some(("const", assignment)) => {
                let (field, value) = assigned(assignment)?;
                Strategy::Constant(field, value)
            }
            _ => return Err(unknown(name, "a resolver")),
        },
    })
}

/// `<field>=<value>`; a value that is not JSON is a text.
fn assigned(assignment: &str) -> Result<(String, Value)> {
    let (field, value) = assignment
        .split_once('=')
        .ok_or_else(|| format!("`{assignment}` must be <field>=<value>"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((field.to_owned(), value))
}

fn transforms(value: &Value) -> Result<Vec<Transform>> {
    const PLACE: &str = "cfg.server_transform";
    match value {
        Value::String(words) => words
            .split(',')
            .map(|word| {
                let (name, rest) = word.trim().split_once(':').ok_or_else(|| unknown(word, PLACE))?;
                transform(name, rest)
            })
            .collect(),
        Value::Array(parts) => {
            let each: Result<Vec<_>> = parts.iter().map(transforms).collect();
            Ok(each?.into_iter().flatten().collect())
        }
        Value::Object(fields) => {
            let mut all = Vec::new();
            for (word, value) in fields {
                match (word.as_str(), value) {
                    ("upper" | "lower" | "trim", Value::String(field)) => all.push(transform(word, field)?),
                    ("upper" | "lower" | "trim", Value::Array(_)) => {
                        for field in list(PLACE, word, value)? {
                            all.push(transform(word, &text(PLACE, word, field)?)?);
                        }
                    }
                    ("set", Value::Object(fields)) => {
                        all.extend(
                            fields
                                .iter()
                                .map(|(field, value)| Transform::Set(field.clone(), expand(value))),
                        );
                    }
                    _ => all.push(Transform::Set(word.clone(), expand(value))),
                }
            }
            Ok(all)
        }
        other => Err(format!("{PLACE} cannot be {other}")),
    }
}

fn transform(name: &str, rest: &str) -> Result<Transform> {
    Ok(match name {
        "upper" => Transform::Upper(rest.to_owned()),
        "lower" => Transform::Lower(rest.to_owned()),
        "trim" => Transform::Trim(rest.to_owned()),
        "set" | "const" => {
            let (field, value) = assigned(rest)?;
            Transform::Set(field, value)
        }
        other => return Err(unknown(other, "cfg.server_transform")),
    })
}

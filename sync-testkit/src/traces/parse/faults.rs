//! The faults of a step.

use serde_json::Value;

use super::reader::{Reader, Result, list, text, unknown};
use crate::traces::vocabulary::{Fault, Moment, OpPattern};

/// The faults, and the scope they are held to.
pub(super) fn read(value: &Value) -> Result<(Vec<Fault>, Option<String>)> {
    match value {
        Value::String(word) => Ok((vec![named(word)?], None)),
        Value::Array(parts) => {
            let (mut faults, mut only) = (Vec::new(), None);
            for part in parts {
                let (more, scope) = read(part)?;
                faults.extend(more);
                only = only.or(scope);
            }
            Ok((faults, only))
        }
        Value::Object(_) => with_parameters(value),
        other => Err(format!("`fault` cannot be {other}")),
    }
}

fn with_parameters(value: &Value) -> Result<(Vec<Fault>, Option<String>)> {
    let object = Reader::new("a fault", value)?;
    let only = object.text("only_scope")?;
    let mut faults = Vec::new();
    if let Some(ops) = object.take("retryable") {
        faults.push(Fault::Retryable(patterns("retryable", ops)?));
    }
    if let Some(ops) = object.take("reject") {
        faults.push(Fault::Reject(patterns("reject", ops)?));
    }
    if let Some(pages) = object.count("fail_after_pages")? {
        let pages = u32::try_from(pages).map_err(|_| "`fail_after_pages` is too large".to_owned())?;
        faults.push(Fault::FailAfterPages(pages));
    }
    // A fault without parameters, beside `only_scope`: {"offline": true, "only_scope": "s2"}.
    for (word, value) in object.rest() {
        match value {
            Value::Bool(true) => faults.push(named(word)?),
            Value::String(name) if word == "fault" || word == "kind" => faults.push(named(name)?),
            _ => return Err(unknown(word, "a fault")),
        }
    }
    Ok((faults, only))
}

fn named(word: &str) -> Result<Fault> {
    Ok(match word {
        "offline" => Fault::Offline,
        "lost_req" => Fault::LostRequest,
        "lost_ack" => Fault::LostAnswer,
        "dup" => Fault::Duplicate,
        "push_500" => Fault::PushServerError,
        "pull_500" => Fault::PullServerError,
        "lost_pull" => Fault::LostPull,
        "truncate_pull" => Fault::TruncatedPull,
        "bad_cursor" => Fault::BadCursor,
        "db_busy" => Fault::StoreBusy,
        "disk_full" => Fault::DiskFull,
        "http_401" => Fault::Unauthenticated,
        "http_429" => Fault::RateLimited,
        _ => match word.split_once(':') {
            Some(("crash", at)) => Fault::Crash(moment(at, word)?),
            Some(("cancel", at)) => Fault::Cancel(moment(at, word)?),
            _ => return Err(unknown(word, "`fault`")),
        },
    })
}

fn moment(name: &str, whole: &str) -> Result<Moment> {
    Ok(match name.trim() {
        "before_push" => Moment::BeforePush,
        "after_push" => Moment::AfterPush,
        "mid_apply" => Moment::MidApply,
        "after_apply" => Moment::AfterApply,
        _ => return Err(unknown(whole, "`fault`")),
    })
}

fn patterns(word: &str, value: &Value) -> Result<Vec<OpPattern>> {
    if value.is_string() {
        return Ok(vec![pattern(&text("a fault", word, value)?)]);
    }
    list("a fault", word, value)?
        .iter()
        .map(|value| Ok(pattern(&text("a fault", word, value)?)))
        .collect()
}

/// `id` or `type:id`. What stands before a colon and is no type belongs to the id.
pub(super) fn pattern(text: &str) -> OpPattern {
    let kind = text.split_once(':').and_then(|(kind, id)| {
        let kind = match kind {
            "create" => "create",
            "update" => "update",
            "delete" => "delete",
            _ => return None,
        };
        Some((kind, id))
    });
    match kind {
        Some((kind, id)) => OpPattern {
            kind: Some(kind),
            id: id.to_owned(),
        },
        None => OpPattern {
            kind: None,
            id: text.to_owned(),
        },
    }
}

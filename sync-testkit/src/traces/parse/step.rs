//! The steps of a trace.

use serde_json::{Map, Value};

use super::{
    expect::rows,
    faults,
    reader::{Reader, Result, list, text, unknown},
};
use crate::traces::{
    patterns::{expand, expand_fields},
    vocabulary::{
        Access, Action, Actor, Assertions, At, Choice, DEFAULT_SCOPE, Fields, Grant, ReadPolicy, Step,
    },
};

pub(super) fn read(value: &Value) -> Result<Step> {
    let object = Reader::new("a step", value)?;
    let op = object.needed_text("op")?;
    let actor = match op.as_str() {
        // Everyone takes part in these, whoever is named.
        "settle" | "tick" => {
            object.take("c");
            Actor::Nobody
        }
        _ => actor(&object)?,
    };
    let step = Step {
        at: at(&object)?,
        sent_at: None,
        scope: object.text("scope")?,
        faults: Vec::new(),
        only_scope: None,
        must_fail: must_fail(&object)?,
        require_remote: false,
        during_push: nested(&object, "during_push")?,
        during_pull: nested(&object, "during_pull")?,
        between_pages: nested(&object, "between_pages")?,
        action: match &actor {
            Actor::Client(_) => client_action(&op, &object)?,
            Actor::ThirdParty => third_party_action(&op, &object)?,
            Actor::Remote => remote_action(&op, &object)?,
            Actor::Nobody => common_action(&op, &object)?.ok_or_else(|| {
                format!("`{op}` needs `c`: the client that acts, or \"S\" for a third party")
            })?,
        },
        actor,
    };
    let (faults, only_scope) = object
        .take("fault")
        .map(faults::read)
        .transpose()?
        .unwrap_or_default();
    let require_remote = !matches!(step.action, Action::Read(..)) && require_remote(&object)?;
    object.finish().map_err(|problem| format!("{problem} (`{op}`)"))?;
    Ok(Step {
        faults,
        only_scope,
        require_remote,
        ..step
    })
}

fn actor(object: &Reader<'_>) -> Result<Actor> {
    Ok(match object.text("c")?.as_deref() {
        None | Some("" | "*") => Actor::Nobody,
        Some("S") => Actor::ThirdParty,
        Some("remote") => Actor::Remote,
        Some(client) => Actor::Client(client.to_owned()),
    })
}

fn at(object: &Reader<'_>) -> Result<At> {
    match object.take("at") {
        None => Ok(At::Now),
        Some(Value::String(word)) if word == "now" => Ok(At::Now),
        Some(Value::String(word)) => Err(unknown(word, "`at`")),
        Some(_) => object
            .integer("at")?
            .map(At::Stamp)
            .ok_or_else(|| "`at` must be a whole number or \"now\"".to_owned()),
    }
}

fn must_fail(object: &Reader<'_>) -> Result<bool> {
    match object.text("expect")?.as_deref() {
        None | Some("ok") => Ok(false),
        Some("err") => Ok(true),
        Some(other) => Err(unknown(other, "`expect` of a step")),
    }
}

fn require_remote(object: &Reader<'_>) -> Result<bool> {
    match object.text("policy")?.as_deref() {
        None => Ok(false),
        Some("require_remote") => Ok(true),
        Some(other) => Err(unknown(other, "`policy` of a write")),
    }
}

fn nested(object: &Reader<'_>, word: &str) -> Result<Vec<Step>> {
    let Some(value) = object.take(word) else {
        return Ok(Vec::new());
    };
    let steps: Vec<&Value> = match value {
        Value::Array(steps) => steps.iter().collect(),
        one => vec![one],
    };
    steps
        .into_iter()
        .enumerate()
        .map(|(index, step)| read(step).map_err(|problem| format!("{word}, step {}: {problem}", index + 1)))
        .collect()
}

fn fields(object: &Reader<'_>) -> Result<Fields> {
    match object.take("fields") {
        None => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(expand_fields(fields)),
        Some(other) => Err(format!("`fields` must be an object, not {other}")),
    }
}

/// What clients, the third party and nobody in particular can do alike.
fn common_action(op: &str, object: &Reader<'_>) -> Result<Option<Action>> {
    Ok(Some(match op {
        "settle" => Action::Settle,
        "tick" => {
            let seconds = object.any(&["s", "seconds"]).and_then(Value::as_f64);
            Action::Tick(
                seconds
                    .filter(|s| *s >= 0.0)
                    .ok_or("`tick` needs `s`, in seconds")?,
            )
        }
        _ => return Ok(None),
    }))
}

fn client_action(op: &str, object: &Reader<'_>) -> Result<Action> {
    if let Some(action) = common_action(op, object)? {
        return Ok(action);
    }
    let id = || object.needed_text("id");
    Ok(match op {
        "create" => Action::Create(id()?, fields(object)?),
        "update" => Action::Update(id()?, fields(object)?),
        "delete" => Action::Delete(id()?),
        "bulk_create" => Action::BulkCreate(bulk(object)?),
        "bulk_update" => Action::BulkUpdate(bulk(object)?),
        "sync" => Action::Sync,
        "push" => Action::Push,
        "pull" => Action::Pull,
        "full_resync" => Action::FullResync,
        "sync_parallel" => {
            let number = object.count("n")?.unwrap_or(2);
            Action::SyncParallel(usize::try_from(number).unwrap_or(usize::MAX).clamp(1, 64))
        }
        "restart" => Action::Restart,
        "compact" => Action::Compact,
        "reset" => Action::Reset,
        "wipe_cache" => Action::WipeCache,
        "reset_cursor" => Action::ResetCursor,
        "purge" => Action::Purge(id()?),
        "discard" => Action::Discard(object.text("id")?),
        "subscribe" => Action::Subscribe,
        "drop_scope" => Action::DropScope,
        "clock" => Action::ClockOffset(object.integer("offset")?.ok_or("`clock` needs `offset`")?),
        "redeliver" => {
            let request = object.count("req")?.ok_or("`redeliver` needs `req`")?;
            Action::Redeliver(usize::try_from(request).unwrap_or(usize::MAX))
        }
        "resolve" => {
            let choice = match object.needed_text("choice")?.as_str() {
                "local" => Choice::Local,
                "remote" => Choice::Remote,
                "merged" => Choice::Merged,
                other => return Err(unknown(other, "`choice`")),
            };
            Action::Resolve(id()?, choice, fields(object)?)
        }
        "read" => Action::Read(
            read_policy(object)?,
            object.take("rows").map(|value| rows("rows", value)).transpose()?,
            object.count("requests")?,
        ),
        "assert" => Action::Assert(assertions(object)?),
        other => return Err(unknown(other, "`op` of a client")),
    })
}

fn read_policy(object: &Reader<'_>) -> Result<ReadPolicy> {
    Ok(match object.needed_text("policy")?.as_str() {
        "offlineOnly" => ReadPolicy::OfflineOnly,
        "localFirst" => ReadPolicy::LocalFirst,
        "remoteFirst" => ReadPolicy::RemoteFirst,
        "onlineOnly" => ReadPolicy::OnlineOnly,
        other => return Err(unknown(other, "`policy` of a read")),
    })
}

fn assertions(object: &Reader<'_>) -> Result<Assertions> {
    Ok(Assertions {
        rows: object.take("rows").map(|value| rows("rows", value)).transpose()?,
        pending: object.count("pending")?,
        pushes: object.count("pushes")?,
        conflicts: object.count("conflicts")?,
        dead: object.count("dead")?,
        synced_once: object.flag("synced_once")?,
        count: object.count("count")?,
        requests: object.count("requests")?,
        last_pull_rows: object.count("last_pull_rows")?,
    })
}

fn remote_action(op: &str, object: &Reader<'_>) -> Result<Action> {
    match op {
        "assert" => {
            let rows = object.take("rows").map(|value| rows("rows", value)).transpose()?;
            Ok(Action::Assert(Assertions {
                rows,
                count: object.count("count")?,
                ..Assertions::default()
            }))
        }
        // The remote is where the third party works.
        other => third_party_action(other, object),
    }
}

fn third_party_action(op: &str, object: &Reader<'_>) -> Result<Action> {
    if let Some(action) = common_action(op, object)? {
        return Ok(action);
    }
    let id = || object.needed_text("id");
    let name = || -> Result<String> {
        let name = object.any(&["name", "id", "as", "from"]);
        let name = name.map(|name| text("a step", "name", name)).transpose()?;
        Ok(name.unwrap_or_default())
    };
    Ok(match op {
        "put" => Action::Put(id()?, fields(object)?),
        "bulk_put" => Action::BulkPut(bulk(object)?),
        "del" => Action::Remove(id()?),
        "vanish" => Action::Vanish(id()?),
        "move" => Action::Move(id()?, object.needed_text("to")?),
        "prune" => {
            let keep = object.count("keep")?;
            Action::Prune(keep.unwrap_or(0))
        }
        "snapshot" => Action::Snapshot(name()?),
        "restore" => Action::Restore(name()?),
        "set_access" => Action::SetAccess(grants(object)?),
        other => return Err(unknown(other, "`op` of the third party")),
    })
}

/// Many records: `ids`, `rows`, or `n` of them named by `prefix` and a number from `from` (0).
fn bulk(object: &Reader<'_>) -> Result<Vec<(String, Fields)>> {
    let template = fields(object)?;
    let prefix = object.any(&["prefix", "id"]);
    let prefix = prefix.map(|value| text("a step", "prefix", value)).transpose()?;
    let from = object
        .any(&["from", "start"])
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let to = object.count("to")?.map(|to| (to + 1).saturating_sub(from));
    let number = object.any(&["n", "count"]).and_then(Value::as_u64).or(to);
    if let Some(ids) = object.take("ids") {
        let ids = list("a step", "ids", ids)?.iter();
        return ids
            .enumerate()
            .map(|(index, id)| Ok((text("a step", "ids", id)?, numbered(&template, index as u64))))
            .collect();
    }
    match object.any(&["rows", "items", "records"]) {
        Some(Value::Object(rows)) => {
            let row = |(id, row): (&String, &Value)| match row {
                Value::Object(fields) => Ok((id.clone(), overlaid(&template, fields))),
                other => Err(format!("row {id:?} cannot be {other}")),
            };
            return rows.iter().map(row).collect();
        }
        Some(Value::Array(rows)) => {
            let row = |row: &Value| {
                let row = Reader::new("a row", row)?;
                let own = fields(&row)?;
                let id = row.needed_text("id")?;
                row.finish()?;
                Ok((id, overlaid(&template, &own)))
            };
            return rows.iter().map(row).collect();
        }
        Some(other) => return Err(format!("`rows` cannot be {other}")),
        None => {}
    }
    let number = number.ok_or("many records need `n`, `ids` or `rows`")?;
    let prefix = prefix.unwrap_or_else(|| "r".to_owned());
    let id = |index: u64| match prefix.contains("{i}") {
        true => prefix.replace("{i}", &index.to_string()),
        false => format!("{prefix}{index}"),
    };
    let named = |index| (id(index), numbered(&template, index));
    Ok((from..from.saturating_add(number)).map(named).collect())
}

fn overlaid(template: &Fields, own: &Fields) -> Fields {
    let mut all = template.clone();
    all.extend(own.iter().map(|(field, value)| (field.clone(), expand(value))));
    all
}

/// The fields of one record of many: `"$i"` is its number, and `{i}` within a text as well.
fn numbered(template: &Fields, index: u64) -> Fields {
    let value = |value: &Value| match value {
        Value::String(text) if text == "$i" => Value::from(index),
        Value::String(text) => Value::String(text.replace("{i}", &index.to_string())),
        other => other.clone(),
    };
    template
        .iter()
        .map(|(field, content)| (field.clone(), value(content)))
        .collect()
}

/// `client`, `scope` and `allow` for one right; `scopes` for all that a client has from now on.
fn grants(object: &Reader<'_>) -> Result<Vec<Grant>> {
    let client = object.any(&["client", "who", "user", "id", "to", "for"]);
    let clients: Vec<Option<String>> = match client {
        None => vec![None],
        Some(Value::Array(names)) => {
            let named: Result<Vec<_>> = names.iter().map(|name| text("a step", "client", name)).collect();
            named?.into_iter().map(Some).collect()
        }
        Some(name) => vec![Some(text("a step", "client", name)?)],
    };
    let scopes = object.any(&["scopes", "grants"]);
    let scope = object.text("scope")?;
    let access = object.any(&["allow", "allowed", "access", "grant", "value"]);
    if let Some(Value::Object(each)) = access.or(scopes) {
        let granted = |(client, scopes): (&String, &Value)| exactly(Some(client.clone()), scopes);
        let all: Result<Vec<_>> = each.iter().map(granted).collect();
        return Ok(all?.into_iter().flatten().collect());
    }
    if let Some(scopes) = scopes.or(access.filter(|access| access.is_array())) {
        let all: Result<Vec<_>> = clients
            .into_iter()
            .map(|client| exactly(client, scopes))
            .collect();
        return Ok(all?.into_iter().flatten().collect());
    }
    let access = match access {
        Some(Value::Bool(true)) => Access::Full,
        Some(Value::Bool(false)) => Access::None,
        Some(Value::String(word)) => match word.as_str() {
            "none" | "revoked" | "deny" => Access::None,
            "read" | "ro" => Access::Read,
            "write" | "rw" | "full" | "granted" => Access::Full,
            other => return Err(unknown(other, "`access`")),
        },
        Some(other) => return Err(format!("`allow` cannot be {other}")),
        None => return Err("`set_access` needs `allow`, or `scopes`".to_owned()),
    };
    let scope = scope.unwrap_or_else(|| DEFAULT_SCOPE.to_owned());
    let grant = |client| Grant {
        client,
        scope: Some(scope.clone()),
        access,
    };
    Ok(clients.into_iter().map(grant).collect())
}

/// These scopes and no others.
fn exactly(client: Option<String>, scopes: &Value) -> Result<Vec<Grant>> {
    let mut grants = vec![Grant {
        client: client.clone(),
        scope: None,
        access: Access::None,
    }];
    for scope in list("a step", "scopes", scopes)? {
        grants.push(Grant {
            client: client.clone(),
            scope: Some(text("a step", "scopes", scope)?),
            access: Access::Full,
        });
    }
    Ok(grants)
}

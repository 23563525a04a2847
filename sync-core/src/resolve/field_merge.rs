//! Three-way merge by fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Number, Value};

use super::{Conflict, ConflictResolver, Resolution};
use crate::{
    error::Result,
    payload::{JsonObject, Payload},
};

/// What to do with a field that both sides changed to different values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldPolicy {
    /// The value of the later write.
    #[default]
    LastWriteWins,
    /// The local value.
    PreferLocal,
    /// The remote value.
    PreferRemote,
    /// The larger of two numbers; otherwise as `LastWriteWins`.
    Max,
    /// The smaller of two numbers; otherwise as `LastWriteWins`.
    Min,
    /// Both changes of a number: remote + (local - base), also if they are equal. For integers that stay within 64
    /// bits; otherwise as `LastWriteWins`.
    ///
    /// Exact where the remote remembers operations ([`crate::Capabilities::idempotent_push`]). Elsewhere, a step whose
    /// answer was lost cannot be told from an equal one of somebody else at the same time, and both count as one.
    Counter,
    /// Lists as sets: what either added and neither removed, in the remote's order, then the local additions.
    Union,
}

/// What to do when one side deleted what the other changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeleteRule {
    /// The later write wins.
    #[default]
    LastWriteWins,
    /// The delete wins.
    DeleteWins,
    /// The edit wins.
    EditWins,
}

/// Keeps the changes of both sides as long as they touch different top-level fields, and decides fields that
/// both changed by a policy for each.
///
/// ```
/// use sync_core::resolve::{FieldMerge, FieldPolicy};
/// let resolver = FieldMerge::new().with("votes", FieldPolicy::Counter).with("tags", FieldPolicy::Union);
/// # let _ = resolver;
/// ```
#[derive(Clone, Debug, Default)]
pub struct FieldMerge {
    policies: BTreeMap<String, FieldPolicy>,
    otherwise: FieldPolicy,
    deletes: DeleteRule,
}

impl FieldMerge {
    /// A merge that decides every doubly changed field, and every delete against an edit, by the later write.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides one field by `policy`.
    pub fn with(mut self, field: impl Into<String>, policy: FieldPolicy) -> Self {
        self.policies.insert(field.into(), policy);
        self
    }

    /// Decides all other fields by `policy`.
    pub fn otherwise(mut self, policy: FieldPolicy) -> Self {
        self.otherwise = policy;
        self
    }

    /// Decides a delete against an edit by `rule`.
    pub fn deletes(mut self, rule: DeleteRule) -> Self {
        self.deletes = rule;
        self
    }

    fn resolve_delete(&self, conflict: &Conflict) -> Resolution {
        let local_wins = match self.deletes {
            DeleteRule::LastWriteWins => conflict.local_is_later(),
            DeleteRule::DeleteWins => conflict.local.is_none() && conflict.remote.is_some(),
            DeleteRule::EditWins => conflict.local.is_some(),
        };
        if local_wins {
            Resolution::KeepLocal
        } else {
            Resolution::TakeRemote
        }
    }

    fn merge(&self, conflict: &Conflict, local: &JsonObject, remote: &JsonObject) -> Result<JsonObject> {
        let base = conflict
            .base
            .as_ref()
            .map(Payload::to_object)
            .transpose()?
            .unwrap_or_default();
        let fields: BTreeSet<&String> = base.keys().chain(local.keys()).chain(remote.keys()).collect();
        let mut merged = JsonObject::new();
        for field in fields {
            let (b, l, r) = (base.get(field), local.get(field), remote.get(field));
            let policy = self.policies.get(field).copied().unwrap_or(self.otherwise);
            // Two equal steps of a counter are two steps.
            let agree = l == r && policy != FieldPolicy::Counter;
            let value = if agree || l == b {
                r.cloned()
            } else if r == b {
                l.cloned()
            } else {
                decide(policy, b, l, r, conflict.local_is_later())
            };
            if let Some(value) = value {
                merged.insert(field.clone(), value);
            }
        }
        Ok(merged)
    }
}

impl ConflictResolver for FieldMerge {
    fn name(&self) -> &str {
        "field_merge"
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        let (Some(local), Some(remote)) = (&conflict.local, &conflict.remote) else {
            return Ok(self.resolve_delete(conflict));
        };
        let merged = self.merge(conflict, &local.to_object()?, &remote.to_object()?)?;
        Ok(Resolution::Merged(Payload::from_object(&merged)))
    }
}

fn decide(
    policy: FieldPolicy,
    base: Option<&Value>,
    local: Option<&Value>,
    remote: Option<&Value>,
    local_is_later: bool,
) -> Option<Value> {
    let by_time = || {
        if local_is_later {
            local.cloned()
        } else {
            remote.cloned()
        }
    };
    match policy {
        FieldPolicy::LastWriteWins => by_time(),
        FieldPolicy::PreferLocal => local.cloned(),
        FieldPolicy::PreferRemote => remote.cloned(),
        FieldPolicy::Max => larger(local, remote).map_or_else(by_time, |l| pick(l, local, remote)),
        FieldPolicy::Min => larger(local, remote).map_or_else(by_time, |l| pick(!l, local, remote)),
        FieldPolicy::Counter => count(base, local, remote).map(Value::Number).or_else(by_time),
        FieldPolicy::Union => union(base, local, remote).map(Value::Array).or_else(by_time),
    }
}

fn pick(first: bool, local: Option<&Value>, remote: Option<&Value>) -> Option<Value> {
    if first { local.cloned() } else { remote.cloned() }
}

/// Whether `local` is the larger of two numbers.
fn larger(local: Option<&Value>, remote: Option<&Value>) -> Option<bool> {
    match (local?.as_i64(), remote?.as_i64()) {
        (Some(l), Some(r)) => Some(l > r),
        _ => Some(local?.as_f64()? > remote?.as_f64()?),
    }
}

fn count(base: Option<&Value>, local: Option<&Value>, remote: Option<&Value>) -> Option<Number> {
    let base = match base {
        Some(base) => base.as_i64()?,
        None => 0,
    };
    Some(
        remote?
            .as_i64()?
            .checked_add(local?.as_i64()?.checked_sub(base)?)?
            .into(),
    )
}

fn union(base: Option<&Value>, local: Option<&Value>, remote: Option<&Value>) -> Option<Vec<Value>> {
    let empty = Vec::new();
    let base = match base {
        Some(base) => base.as_array()?,
        None => &empty,
    };
    let (local, remote) = (local?.as_array()?, remote?.as_array()?);
    let mut merged: Vec<Value> = remote
        .iter()
        .filter(|item| local.contains(item) || !base.contains(item))
        .cloned()
        .collect();
    for item in local {
        if !base.contains(item) && !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::tests::conflict;

    fn merged(resolver: &FieldMerge, base: &str, local: &str, remote: &str) -> Value {
        match resolver
            .resolve(&conflict(Some(base), Some(local), Some(remote)))
            .unwrap()
        {
            Resolution::Merged(payload) => payload.decode().unwrap(),
            other => panic!("expected a merge, got {other:?}"),
        }
    }

    #[test]
    fn changes_of_different_fields_are_both_kept() {
        let value = merged(
            &FieldMerge::new(),
            r#"{"title":"a","done":false,"old":1}"#,
            r#"{"title":"b","done":false,"old":1}"#,
            r#"{"title":"a","done":true,"new":2}"#,
        );
        assert_eq!(value, serde_json::json!({"title": "b", "done": true, "new": 2}));
    }

    #[test]
    fn clearing_a_field_is_a_change_like_any_other() {
        let value = merged(
            &FieldMerge::new(),
            r#"{"a":1,"b":1}"#,
            r#"{"b":1}"#,
            r#"{"a":1,"b":2}"#,
        );
        assert_eq!(value, serde_json::json!({"b": 2}));
    }

    #[test]
    fn policies_decide_doubly_changed_fields() {
        let resolver = FieldMerge::new()
            .with("n", FieldPolicy::Counter)
            .with("tags", FieldPolicy::Union)
            .with("hi", FieldPolicy::Max)
            .with("lo", FieldPolicy::Min)
            .with("r", FieldPolicy::PreferRemote);
        let value = merged(
            &resolver,
            r#"{"n":5,"tags":["a","b"],"hi":1,"lo":9,"r":0,"t":0}"#,
            r#"{"n":7,"tags":["b","c"],"hi":3,"lo":2,"r":1,"t":1}"#,
            r#"{"n":4,"tags":["a","b","d"],"hi":2,"lo":3,"r":2,"t":2}"#,
        );
        assert_eq!(
            value,
            serde_json::json!({"n": 6, "tags": ["b", "d", "c"], "hi": 3, "lo": 2, "r": 2, "t": 1})
        );
    }

    #[test]
    fn equal_steps_of_a_counter_are_both_counted() {
        let resolver = FieldMerge::new().with("n", FieldPolicy::Counter);
        let merged = |local, remote| merged(&resolver, r#"{"n":5,"t":0}"#, local, remote);
        assert_eq!(merged(r#"{"n":6,"t":0}"#, r#"{"n":6,"t":1}"#)["n"], 7);
        assert_eq!(merged(r#"{"n":5,"t":1}"#, r#"{"n":6,"t":0}"#)["n"], 6);
        assert_eq!(merged(r#"{"n":6,"t":1}"#, r#"{"n":5,"t":0}"#)["n"], 6);
    }

    #[test]
    fn a_counter_that_would_overflow_falls_back_to_the_later_write() {
        let resolver = FieldMerge::new().with("n", FieldPolicy::Counter);
        let value = merged(
            &resolver,
            r#"{"n":0}"#,
            r#"{"n":9223372036854775807}"#,
            r#"{"n":1}"#,
        );
        assert_eq!(value["n"], i64::MAX);
    }

    #[test]
    fn deletes_follow_their_rule() {
        let edit_vs_delete = conflict(Some("{}"), Some(r#"{"a":1}"#), None);
        let delete_vs_edit = conflict(Some("{}"), None, Some(r#"{"a":1}"#));
        let rule = |rule| FieldMerge::new().deletes(rule);
        assert_eq!(
            rule(DeleteRule::EditWins).resolve(&edit_vs_delete).unwrap(),
            Resolution::KeepLocal
        );
        assert_eq!(
            rule(DeleteRule::EditWins).resolve(&delete_vs_edit).unwrap(),
            Resolution::TakeRemote
        );
        assert_eq!(
            rule(DeleteRule::DeleteWins).resolve(&edit_vs_delete).unwrap(),
            Resolution::TakeRemote
        );
        assert_eq!(
            rule(DeleteRule::DeleteWins).resolve(&delete_vs_edit).unwrap(),
            Resolution::KeepLocal
        );
        assert_eq!(
            rule(DeleteRule::LastWriteWins).resolve(&delete_vs_edit).unwrap(),
            Resolution::KeepLocal
        );
    }
}

//! The records of the simulation, and who decides about them.

use std::{fmt::Write, sync::Arc};

use serde_json::Value;
use sync_core::{
    CollectionName, CollectionSchema, ErrorKind, Payload, RecordId, RecordKey, Result, SyncError, SyncScope,
    Target,
    resolve::{
        ClientWins, Conflict, ConflictResolver, FieldMerge, LastWriteWins, Manual, Resolution, ServerWins,
    },
};

use super::{
    plan::{Decider, Place},
    shared::Shared,
};

/// The names of everything that plans have numbers for.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) scopes: Vec<SyncScope>,
    lists: CollectionName,
    items: CollectionName,
}

impl Names {
    pub(crate) fn new(scopes: usize) -> Result<Self> {
        let scope = |number: usize| SyncScope::new("inbox")?.with("user", format!("u{number}"));
        Ok(Self {
            scopes: (0..scopes).map(scope).collect::<Result<_>>()?,
            lists: CollectionName::new("lists")?,
            items: CollectionName::new("items")?,
        })
    }

    /// The scope of this number; of the last one if there are not so many.
    pub(crate) fn scope(&self, number: usize) -> &SyncScope {
        &self.scopes[number.min(self.scopes.len() - 1)]
    }

    pub(crate) fn target(&self, scope: usize, list: bool) -> Target {
        let collection = if list { &self.lists } else { &self.items };
        Target::new(collection.clone(), self.scope(scope).clone())
    }

    pub(crate) fn collections(&self) -> Vec<CollectionName> {
        vec![self.lists.clone(), self.items.clone()]
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        (0..self.scopes.len())
            .flat_map(|scope| [self.target(scope, true), self.target(scope, false)])
            .collect()
    }

    pub(crate) fn key(&self, place: Place) -> Result<RecordKey> {
        let letter = if place.list { 'l' } else { 'i' };
        let id = RecordId::new(format!("{letter}{}", place.id))?;
        Ok(RecordKey::new(self.target(place.scope, place.list), id))
    }
}

/// The record after a user or someone else changed the fields whose bits are set. Every write has another number,
/// so a value tells where it came from.
pub(crate) fn changed(
    key: &RecordKey,
    before: Option<&Payload>,
    fields: u8,
    number: u64,
    list: Option<&str>,
) -> Payload {
    let old = before
        .and_then(|record| record.to_object().ok())
        .unwrap_or_default();
    let fields = if before.is_none() { u8::MAX } else { fields };
    let mut text = format!(
        "{{\"id\":\"{}\",\"home\":\"{}\"",
        key.id,
        key.scope().value("user").unwrap_or_default()
    );
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing into a text cannot fail.
            let _ = write!(text, ", \"{name}\":{value}");
        }
    };
    let kept = |name: &str| old.get(name).map(Value::to_string);
    let new = |bit: u8, name: &str, value: Option<String>| if fields & bit != 0 { value } else { kept(name) };
    put("x", new(1, "x", Some(number.to_string())));
    put("y", new(2, "y", Some(number.to_string())));
    // Not as serde would write it: a store must keep the text as it is.
    let n = if number.is_multiple_of(3) {
        "null".to_owned()
    } else {
        format!("{}.50e0", number % 7)
    };
    put("n", new(4, "n", Some(n)));
    put("list", new(8, "list", list.map(|id| format!("\"{id}\""))));
    put("srv", kept("srv"));
    put("v2", kept("v2"));
    text.push('}');
    Payload::from_stored(text)
}

/// The description of a collection at a schema version; `related` if its records name parents.
pub(crate) fn schema(name: &str, version: u32, related: bool) -> Result<CollectionSchema> {
    let mut schema = CollectionSchema::untyped(name, "id")?;
    if related && name == "items" {
        schema = schema.with_parent("list", "lists")?;
    }
    schema.schema_version = version;
    schema.upgrade = |mut fields, _| {
        let cannot = fields
            .get("x")
            .and_then(Value::as_u64)
            .is_some_and(|x| x.is_multiple_of(5));
        if cannot {
            return Err("x cannot be divided".to_owned());
        }
        fields.insert("v2".to_owned(), true.into());
        Ok(fields)
    };
    Ok(schema)
}

/// A resolver under observation.
#[derive(Clone, Debug)]
pub(crate) struct WatchedResolver {
    decider: Decider,
    resolver: Arc<dyn ConflictResolver>,
    shared: Arc<Shared>,
}

impl WatchedResolver {
    pub(crate) fn new(decider: Decider, shared: &Arc<Shared>) -> Self {
        let resolver: Arc<dyn ConflictResolver> = match decider {
            Decider::LastWriteWins | Decider::Faulty => Arc::new(LastWriteWins),
            Decider::FieldMerge => Arc::new(FieldMerge::new()),
            Decider::ServerWins => Arc::new(ServerWins),
            Decider::ClientWins => Arc::new(ClientWins),
            Decider::Manual => Arc::new(Manual),
        };
        Self {
            decider,
            resolver,
            shared: Arc::clone(shared),
        }
    }
}

impl ConflictResolver for WatchedResolver {
    fn name(&self) -> &str {
        self.resolver.name()
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        if conflict.remote_stamp == Some(conflict.local_stamp) {
            self.shared
                .violation(|| format!("the resolver was asked about an own write: {conflict:?}"));
        }
        if self.decider == Decider::Faulty {
            match conflict.key.id.as_str() {
                "i2" => {
                    return Err(SyncError::new(
                        ErrorKind::Internal,
                        "the resolver fails on this record",
                    ));
                }
                // A panic that the hook does not print.
                "i3" => std::panic::resume_unwind(Box::new("the resolver panics on this record")),
                _ => {}
            }
        }
        self.resolver.resolve(conflict)
    }
}

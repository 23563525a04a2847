//! The strategies of the vocabulary, as a resolver.

use std::collections::BTreeMap;

use sync_core::{
    JsonObject, Payload, Result,
    resolve::{
        ClientWins, Conflict, ConflictResolver, DeleteRule, FieldMerge, FieldPolicy, LastWriteWins, Manual,
        Resolution, ServerWins,
    },
};

use super::vocabulary::{Config, Strategy};

/// Decides by the strategy of the scope.
#[derive(Clone, Debug)]
pub(super) struct ScopedResolver {
    strategy: Strategy,
    scopes: BTreeMap<String, Strategy>,
}

impl ScopedResolver {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            strategy: config.resolver.clone(),
            scopes: config.scope_resolver.clone(),
        }
    }
}

impl ConflictResolver for ScopedResolver {
    fn name(&self) -> &str {
        "by_scope"
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        let strategy = self
            .scopes
            .get(conflict.key.scope().name())
            .unwrap_or(&self.strategy);
        match strategy {
            // Traces with field registers are not run.
            Strategy::LastWriteWins | Strategy::FieldRegisters => LastWriteWins.resolve(conflict),
            Strategy::ServerWins | Strategy::Discard => ServerWins.resolve(conflict),
            Strategy::ClientWins => ClientWins.resolve(conflict),
            Strategy::Manual => Manual.resolve(conflict),
            Strategy::FieldMerge { delete_wins } => {
                let rule = if *delete_wins {
                    DeleteRule::DeleteWins
                } else {
                    DeleteRule::LastWriteWins
                };
                FieldMerge::new().deletes(rule).resolve(conflict)
            }
            Strategy::Max(field) => FieldMerge::new().with(field, FieldPolicy::Max).resolve(conflict),
            Strategy::Constant(field, value) => {
                let mut record = merged(conflict, FieldPolicy::LastWriteWins)?;
                record.insert(field.clone(), value.clone());
                Ok(Resolution::Merged(Payload::from_object(&record)))
            }
        }
    }
}

/// The changes of both sides; of a deleted record, what the other side has.
pub(super) fn merged(conflict: &Conflict, policy: FieldPolicy) -> Result<JsonObject> {
    match (&conflict.local, &conflict.remote) {
        (Some(_), Some(_)) => match FieldMerge::new().otherwise(policy).resolve(conflict)? {
            Resolution::Merged(payload) => payload.to_object(),
            _ => Ok(JsonObject::new()),
        },
        (Some(one), None) | (None, Some(one)) => one.to_object(),
        (None, None) => Ok(JsonObject::new()),
    }
}

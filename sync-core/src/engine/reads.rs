//! Reads under the four policies.

use std::sync::Arc;

use super::{SyncEngine, SyncRequest, run};
use crate::{
    error::{ErrorKind, Result, SyncError},
    id::{RecordId, RecordKey},
    machine::upgrade_payload,
    payload::Payload,
    policy::{CachePolicy, Freshness, ReadOptions},
    query::{Filter, QuerySpec},
    record::CollectionSchema,
    record_state::LocalRecord,
    scope::Target,
    store::{LocalStoreExt, TargetState, View},
};

/// The answer to a read of records without a Rust type.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawAnswer {
    /// The records, of the current schema version.
    pub records: Vec<LocalRecord>,
    /// Stored records that could not be brought to the current schema version.
    pub undecodable: Vec<(RecordId, SyncError)>,
    /// How far the collection was synchronized.
    pub state: TargetState,
    /// Whether the remote was asked, and with which success.
    pub freshness: Freshness,
}

impl SyncEngine {
    /// The records of a collection that a query selects.
    ///
    /// # Errors
    /// `Invalid` if the query is not well formed; the store's errors; under `OnlineOnly`, what kept the remote
    /// from answering.
    pub async fn query(&self, target: &Target, spec: &QuerySpec, options: &ReadOptions) -> Result<RawAnswer> {
        spec.validate()?;
        let freshness = self.refresh(target, Some(spec), options).await?;
        let found = self.inner.store.query(target, spec).await?;
        self.answer(target, found, freshness).await
    }

    /// One record; no record in the answer if it is not there.
    ///
    /// # Errors
    /// As [`SyncEngine::query`].
    pub async fn get(&self, key: &RecordKey, options: &ReadOptions) -> Result<RawAnswer> {
        let freshness = self.refresh(&key.target, None, options).await?;
        let record = self.inner.store.load_record(key).await?;
        let schema = &self.inner.registered(&key.target.collection)?.schema;
        let deleted_at = schema.deleted_at_field.as_deref();
        let pending = record.is_pending();
        let schema_version = record.schema_version;
        let mut found = Vec::new();
        if let Some(payload) = record.view {
            let hidden = match deleted_at {
                Some(field) => crate::query::is_marked_deleted(payload.to_object()?.get(field)),
                None => false,
            };
            if !hidden {
                found.push(LocalRecord {
                    id: key.id.clone(),
                    payload,
                    schema_version,
                    pending,
                });
            }
        }
        self.answer(&key.target, found, freshness).await
    }

    /// The content of one record, of the current schema version, if the policy asks no remote and the store can
    /// tell at once.
    ///
    /// # Errors
    /// As [`SyncEngine::query`]; `Malformed` if it cannot be brought to the current schema version.
    pub(crate) fn payload_at_once(
        &self,
        key: &RecordKey,
        options: &ReadOptions,
    ) -> Option<Result<Option<Payload>>> {
        if options.policy != CachePolicy::OfflineOnly {
            return None;
        }
        let known = self.inner.check_running();
        let schema = match known.and_then(|()| self.inner.registered(&key.target.collection)) {
            Ok(known) => &known.schema,
            Err(error) => return Some(Err(error)),
        };
        let view = self.inner.store.view_at_once(key)?;
        Some(view.map_or(Ok(None), |view| current(schema, view)))
    }

    /// How many records of a collection a filter selects.
    ///
    /// # Errors
    /// As [`SyncEngine::query`].
    pub async fn count(
        &self,
        target: &Target,
        filter: Option<&Filter>,
        options: &ReadOptions,
    ) -> Result<u64> {
        self.refresh(target, None, options).await?;
        self.inner.store.count(target, filter).await
    }

    /// The records that a query selects in the store.
    pub(super) async fn stored(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        spec.validate()?;
        self.inner.check_running()?;
        self.inner.registered(&target.collection)?;
        self.inner.store.query(target, spec).await
    }

    pub(super) async fn answer(
        &self,
        target: &Target,
        found: Vec<LocalRecord>,
        freshness: Freshness,
    ) -> Result<RawAnswer> {
        let schema = &self.inner.registered(&target.collection)?.schema;
        let (mut records, mut undecodable) = (Vec::with_capacity(found.len()), Vec::new());
        for mut record in found {
            if record.schema_version < schema.schema_version {
                match upgrade_payload(schema, &record.payload, record.schema_version) {
                    Ok(payload) => record.payload = payload,
                    Err(error) => {
                        undecodable.push((record.id, error));
                        continue;
                    }
                }
            }
            records.push(record);
        }
        let state = self.inner.store.load_target(target).await?;
        Ok(RawAnswer {
            records,
            undecodable,
            state,
            freshness,
        })
    }

    /// Does what the policy asks for before the store answers.
    async fn refresh(
        &self,
        target: &Target,
        spec: Option<&QuerySpec>,
        options: &ReadOptions,
    ) -> Result<Freshness> {
        self.inner.check_running()?;
        self.inner.registered(&target.collection)?;
        if options.policy == CachePolicy::OfflineOnly {
            return Ok(Freshness::AsStored);
        }
        // On the heap, so that reads which do not get here stay small.
        Box::pin(self.refresh_as_needed(target, spec, options)).await
    }

    async fn refresh_as_needed(
        &self,
        target: &Target,
        spec: Option<&QuerySpec>,
        options: &ReadOptions,
    ) -> Result<Freshness> {
        if self.is_recent(target, options).await? {
            return Ok(Freshness::Fresh);
        }
        if options.policy == CachePolicy::LocalFirst {
            // Errors go to the status; the ticket may be dropped.
            drop(self.request(&target.scope, SyncRequest::BOTH)?);
            return Ok(Freshness::AsStored);
        }
        let asked = self.ask_remote(target, spec, options);
        let deadline = options.deadline;
        let result = self
            .inner
            .effects
            .within(deadline, asked)
            .await
            .unwrap_or_else(|| {
                let message = format!(
                    "the synchronization took longer than {deadline:?}; it goes on in the background"
                );
                Err(SyncError::new(ErrorKind::Timeout, message))
            });
        match result {
            Ok(()) => Ok(Freshness::Fresh),
            Err(error) if options.policy == CachePolicy::OnlineOnly => Err(error.with_operation("read")),
            Err(error) => Ok(Freshness::Stale(error)),
        }
    }

    async fn is_recent(&self, target: &Target, options: &ReadOptions) -> Result<bool> {
        let Some(max_age) = options.max_age else {
            return Ok(false);
        };
        let state = self.inner.store.load_target(target).await?;
        let now = self.inner.now();
        let age_known = state
            .pulled_at
            .filter(|at| *at <= now && state.incomplete.is_none());
        Ok(age_known.is_some_and(|at| now.since(at) <= max_age))
    }

    async fn ask_remote(
        &self,
        target: &Target,
        spec: Option<&QuerySpec>,
        options: &ReadOptions,
    ) -> Result<()> {
        if let (true, Some(spec)) = (options.prefer_remote_eval, spec) {
            match self.search_remote(target, spec).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    tracing::debug!(%error, "the remote cannot evaluate the query; synchronizing instead");
                }
                Err(error) => return Err(error),
            }
        }
        self.request(&target.scope, SyncRequest::BOTH)?
            .wait()
            .await
            .map(drop)
    }

    /// Lets the remote evaluate a query and merges its hits like any pulled record.
    async fn search_remote(&self, target: &Target, spec: &QuerySpec) -> Result<()> {
        let (inner, target, spec) = (Arc::clone(&self.inner), target.clone(), spec.clone());
        self.detached(async move { run::search(&inner, &target, &spec).await })
            .await
    }
}

/// A view of the current schema version; `None` if the soft-delete field marks it.
fn current(schema: &CollectionSchema, view: View) -> Result<Option<Payload>> {
    if let Some(field) = &schema.deleted_at_field
        && crate::query::is_marked_deleted(view.payload.to_object()?.get(field.as_str()))
    {
        return Ok(None);
    }
    if view.schema_version < schema.schema_version {
        return upgrade_payload(schema, &view.payload, view.schema_version).map(Some);
    }
    Ok(Some(view.payload))
}

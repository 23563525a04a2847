//! A remote whose tables keep each record whole, as JSON text in one column.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;
use sync_core::{
    Capabilities, ChangedFields, Delta, IdPage, JsonObject, Payload, Poke, PullRequest, PushBatch,
    PushOutcome, RecordId, RemoteState, RemoteStore, Result, SearchSupport, SyncError, SyncScope, Target,
    Timestamp,
};

/// A remote with a document column, to which records may have any fields.
#[derive(Debug)]
pub(super) struct Documents {
    inner: Arc<dyn RemoteStore>,
    column: &'static str,
    /// Columns that have the same value in every row.
    constant: Vec<(String, String)>,
}

impl Documents {
    pub(super) fn new(
        inner: Arc<dyn RemoteStore>,
        column: &'static str,
        constant: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self {
            inner,
            column,
            constant: constant.into_iter().collect(),
        }
    }

    fn pack(&self, record: &Payload) -> Payload {
        let constant = self.constant.iter();
        let mut row: JsonObject = constant
            .map(|(column, value)| (column.clone(), value.as_str().into()))
            .collect();
        row.insert(self.column.to_owned(), record.as_str().into());
        Payload::from_object(&row)
    }

    fn unpack(&self, row: &Payload) -> Result<Payload> {
        let row = row.to_object()?;
        let text = row.get(self.column).and_then(Value::as_str).unwrap_or_default();
        Payload::parse(text).map_err(|error| SyncError::malformed(self.column, error))
    }

    fn state(&self, state: RemoteState) -> Result<RemoteState> {
        Ok(match state {
            RemoteState::Live(mut live) => {
                live.record = self.unpack(&live.record)?;
                RemoteState::Live(live)
            }
            other => other,
        })
    }
}

#[async_trait]
impl RemoteStore for Documents {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            search: SearchSupport::None,
            ..self.inner.capabilities()
        }
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        let mut delta = self.inner.pull(request).await?;
        for change in &mut delta.changes {
            change.state = self.state(std::mem::take(&mut change.state))?;
        }
        Ok(delta)
    }

    async fn push(&self, mut batch: PushBatch) -> Result<Vec<PushOutcome>> {
        for op in &mut batch.ops {
            op.payload = op.payload.as_ref().map(|record| self.pack(record));
            if matches!(op.changed, ChangedFields::Only(_)) {
                op.changed = ChangedFields::Only(BTreeSet::from([self.column.to_owned()]));
            }
        }
        let mut outcomes = self.inner.push(batch).await?;
        for outcome in &mut outcomes {
            match outcome {
                PushOutcome::Applied { record, .. } => {
                    *record = record.as_ref().map(|row| self.unpack(row)).transpose()?
                }
                PushOutcome::Conflict { current } => *current = self.state(std::mem::take(current))?,
                _ => {}
            }
        }
        Ok(outcomes)
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        let states = self.inner.get(target, ids).await?;
        states.into_iter().map(|state| self.state(state)).collect()
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        self.inner.list_ids(target, after, limit).await
    }

    async fn server_time(&self) -> Result<Timestamp> {
        self.inner.server_time().await
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        self.inner.subscribe(scope).await
    }
}

//! A remote in the process that costs next to nothing: pages of JSON text come ready from a generator, whose time is
//! kept apart, and every push is acknowledged.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;
use sync_core::{
    Capabilities, CursorKind, DeleteVisibility, Delta, DeltaKind, ErrorKind, Payload, PullRequest, PushBatch,
    PushOutcome, RecordId, RemoteChange, RemoteState, RemoteStore, RemoteVersion, Result, SyncError,
    SyncPoint, Target, Versioned,
};

use crate::records::{Todo, todos};

#[derive(Debug)]
pub(crate) struct Pages {
    records: u32,
    push_batch: u32,
    /// Single changes that come after the records.
    changed: Mutex<Vec<String>>,
    /// Time that went into making pages, which is not the client's.
    making: Mutex<Duration>,
    versions: AtomicU64,
}

#[derive(Deserialize)]
struct Row {
    id: String,
}

fn internal(error: impl std::fmt::Display) -> SyncError {
    SyncError::new(ErrorKind::Internal, error.to_string())
}

impl Pages {
    pub(crate) fn new(records: u32) -> Self {
        Self::with_push_batch(records, 100)
    }

    pub(crate) fn with_push_batch(records: u32, push_batch: u32) -> Self {
        Self {
            records,
            push_batch,
            changed: Mutex::default(),
            making: Mutex::default(),
            versions: AtomicU64::new(0),
        }
    }

    /// Adds one change.
    pub(crate) fn change(&self, todo: &Todo) -> Result<()> {
        let page = serde_json::to_string(&[todo]).map_err(internal)?;
        self.changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(page);
        Ok(())
    }

    /// How long the pages took that were pulled so far.
    pub(crate) fn making(&self) -> Duration {
        *self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page after so many records, as it would come off the wire.
    fn page(&self, from: u32, size: u32) -> Result<(String, u32, bool)> {
        let started = Instant::now();
        let (page, to) = if from < self.records {
            let to = self.records.min(from + size);
            (serde_json::to_string(&todos(from..to)).map_err(internal)?, to)
        } else {
            let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            let next = changed.get((from - self.records) as usize);
            match next {
                Some(page) => (page.clone(), from + 1),
                None => ("[]".to_owned(), from),
            }
        };
        *self.making.lock().unwrap_or_else(PoisonError::into_inner) += started.elapsed();
        Ok((page, to, to < self.records))
    }
}

#[async_trait]
impl RemoteStore for Pages {
    fn name(&self) -> &str {
        "pages"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            cursor: CursorKind::CommitOrdered,
            deletes: DeleteVisibility::Tombstones,
            conditional_write: true,
            idempotent_push: true,
            max_push_batch: self.push_batch,
            ..Capabilities::minimal()
        }
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        let from: u32 = match &request.since {
            None => 0,
            Some(point) => point
                .as_str()
                .parse()
                .map_err(|_| SyncError::new(ErrorKind::ResyncRequired, "not a sync point"))?,
        };
        let (page, to, has_more) = self.page(from, request.page_size)?;
        let rows: Vec<&RawValue> = serde_json::from_str(&page).map_err(internal)?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            let id: Row = serde_json::from_str(row.get()).map_err(internal)?;
            let number = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
            let version =
                RemoteVersion::ordered(number.to_string(), i64::try_from(number).map_err(internal)?);
            changes.push(RemoteChange {
                id: RecordId::new(id.id)?,
                state: RemoteState::Live(Versioned::new(Payload::parse(row.get())?, version)),
            });
        }
        Ok(Delta {
            changes,
            malformed: Vec::new(),
            next: SyncPoint::new(to.to_string()),
            has_more,
            server_time: None,
            kind: DeltaKind::Incremental,
            wants_sweep: false,
        })
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        let outcomes = batch.ops.iter().map(|op| {
            std::hint::black_box(op.payload.as_ref().map(|payload| payload.as_str().len()));
            let number = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
            PushOutcome::applied(RemoteVersion::ordered(
                number.to_string(),
                i64::try_from(number).unwrap_or(i64::MAX),
            ))
        });
        Ok(outcomes.collect())
    }

    async fn get(&self, _: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        Ok(vec![RemoteState::Missing; ids.len()])
    }
}

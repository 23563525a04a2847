//! A remote that keeps nothing: it makes pages on the fly and takes every push. Its own cost is small, and its
//! memory does not grow with the number of records, so the memory of a pull can be measured.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sync_core::{
    Capabilities, CursorKind, DeleteVisibility, Delta, DeltaKind, ErrorKind, MalformedRow, Payload,
    PullRequest, PushBatch, PushOutcome, RecordId, RemoteChange, RemoteState, RemoteStore, RemoteVersion,
    Result, SyncError, SyncPoint, Target, Versioned,
};

use crate::records::note;

/// See the module's documentation.
#[derive(Debug)]
pub struct GeneratedRemote {
    /// How many records there are; raising it makes news.
    records: AtomicU64,
    pushed: AtomicU64,
}

impl GeneratedRemote {
    /// A remote with so many records.
    pub fn new(records: u64) -> Self {
        Self {
            records: AtomicU64::new(records),
            pushed: AtomicU64::new(0),
        }
    }

    /// Adds one record.
    pub fn add_one(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl RemoteStore for GeneratedRemote {
    fn name(&self) -> &str {
        "generated"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            cursor: CursorKind::CommitOrdered,
            deletes: DeleteVisibility::Tombstones,
            conditional_write: true,
            idempotent_push: true,
            ..Capabilities::minimal()
        }
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        let from: u64 = match &request.since {
            None => 0,
            Some(point) => point
                .as_str()
                .parse()
                .map_err(|_| SyncError::new(ErrorKind::ResyncRequired, "not a sync point"))?,
        };
        let all = self.records.load(Ordering::Relaxed);
        let to = all.min(from + u64::from(request.page_size));
        let mut changes = Vec::with_capacity(usize::try_from(to - from).unwrap_or_default());
        for n in from..to {
            let note = note(n);
            let version = RemoteVersion::ordered(n.to_string(), i64::try_from(n).unwrap_or(i64::MAX));
            let state = RemoteState::Live(Versioned::new(Payload::encode(&note)?, version));
            changes.push(RemoteChange {
                id: RecordId::new(note.id)?,
                state,
            });
        }
        Ok(Delta {
            changes,
            malformed: Vec::<MalformedRow>::new(),
            next: SyncPoint::new(to.to_string()),
            has_more: to < all,
            server_time: None,
            kind: DeltaKind::Incremental,
            wants_sweep: false,
        })
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        let applied = |_| {
            let order = i64::try_from(self.pushed.fetch_add(1, Ordering::Relaxed)).unwrap_or(i64::MAX);
            PushOutcome::applied(RemoteVersion::ordered(format!("p{order}"), i64::MAX / 2 + order))
        };
        Ok(batch.ops.iter().map(applied).collect())
    }

    async fn get(&self, _: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        Ok(vec![RemoteState::Missing; ids.len()])
    }
}

//! A remote in the process that costs next to nothing: pages of JSON text come from a generator, or ready from a file,
//! and every push is acknowledged.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

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
    ready: Option<ReadyPages>,
    versions: AtomicU64,
}

/// Pages that were made before the client asked for them, so that making them takes none of its time and memory.
#[derive(Debug)]
struct ReadyPages {
    size: u32,
    /// Where each page begins in the file, and where the last one ends.
    starts: Vec<u64>,
    file: Mutex<File>,
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
            ready: None,
            versions: AtomicU64::new(0),
        }
    }

    /// Makes all pages of this size, and keeps them in a file at `path` until they are pulled.
    pub(crate) fn ready(records: u32, size: u32, path: &Path) -> Result<Self> {
        let ready = ReadyPages::make(records, size, path).map_err(internal)?;
        Ok(Self {
            ready: Some(ready),
            ..Self::new(records)
        })
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

    /// The page after so many records, as it would come off the wire.
    fn page(&self, from: u32, size: u32) -> Result<(String, u32, bool)> {
        let (page, to) = if from < self.records {
            let to = self.records.min(from + size);
            let ready = self.ready.as_ref().filter(|ready| ready.size == size);
            let page = match ready {
                Some(ready) => ready.read(from / size).map_err(internal)?,
                None => serde_json::to_string(&todos(from..to)).map_err(internal)?,
            };
            (page, to)
        } else {
            let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            let next = changed.get((from - self.records) as usize);
            match next {
                Some(page) => (page.clone(), from + 1),
                None => ("[]".to_owned(), from),
            }
        };
        Ok((page, to, to < self.records))
    }
}

impl ReadyPages {
    fn make(records: u32, size: u32, path: &Path) -> std::io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        // The file goes with its handle.
        std::fs::remove_file(path)?;
        let mut starts = vec![0];
        let mut end = 0;
        for from in (0..records).step_by(size as usize) {
            let page = serde_json::to_vec(&todos(from..records.min(from + size)))?;
            file.write_all(&page)?;
            end += page.len() as u64;
            starts.push(end);
        }
        Ok(Self {
            size,
            starts,
            file: Mutex::new(file),
        })
    }

    fn read(&self, number: u32) -> std::io::Result<String> {
        let [start, end] = [number, number + 1].map(|place| self.starts[place as usize]);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        let mut page = String::with_capacity((end - start) as usize);
        (&mut *file).take(end - start).read_to_string(&mut page)?;
        Ok(page)
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

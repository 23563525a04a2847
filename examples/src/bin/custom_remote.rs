//! A remote of your own: here the backend is one JSON file.
//!
//! The program runs the conformance suite on it, prints the certificate, and then lets two devices meet over a file.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use adapter_memory::MemoryLocalStore;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sync_core::{
    CachePolicy, Capabilities, ChangedFields, CursorKind, DeleteVisibility, Delta, ErrorKind, OpKind,
    Payload, PullRequest, PushBatch, PushOp, PushOutcome, RecordId, RecordKey, RemoteChange, RemoteState,
    RemoteStore, RemoteVersion, Result, SimpleSyncOrchestrator, SyncError, SyncPoint, SyncRecord, SyncScope,
    Target, Tombstone, Versioned,
};
use sync_testkit::remote_suite::{self, RemoteFixture};

/// The backend is a file that is read and replaced as a whole.
#[derive(Debug)]
struct JsonFileRemote {
    path: PathBuf,
    turns: Mutex<()>,
}

/// What the file holds.
#[derive(Default, Serialize, Deserialize)]
struct Content {
    /// Counts the writes. The version of a record is the number of the write that made it.
    writes: i64,
    /// In the order of writes. Deleted records stay as deleted, so that every device hears of them.
    records: Vec<(RecordKey, RemoteState)>,
}

impl JsonFileRemote {
    /// Reads the file, lets `act` work on it, and replaces it if something was written.
    fn with_content<T>(&self, act: impl FnOnce(&mut Content) -> Result<T>) -> Result<T> {
        let failed = |error: io::Error| SyncError::new(ErrorKind::Server, error.to_string());
        let _turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut content = match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(failed(error)),
        };
        let before = content.writes;
        let answer = act(&mut content)?;
        if content.writes != before {
            let draft = self.path.with_extension("draft");
            let written = serde_json::to_vec(&content).map_err(io::Error::from);
            written.and_then(|text| fs::write(&draft, text)).map_err(failed)?;
            fs::rename(&draft, &self.path).map_err(failed)?;
        }
        Ok(answer)
    }
}

impl Content {
    fn state(&self, key: &RecordKey) -> RemoteState {
        let found = self.records.iter().find(|(other, _)| other == key);
        found.map(|(_, state)| state.clone()).unwrap_or_default()
    }

    fn apply(&mut self, op: PushOp) -> Result<PushOutcome> {
        let current = self.state(&op.key);
        let on_base = current.version() == op.base.as_ref();
        let applies = match op.kind {
            OpKind::Update | OpKind::Delete if current == RemoteState::Missing => {
                return Ok(PushOutcome::Missing);
            }
            OpKind::Create => on_base && !current.is_live(),
            OpKind::Update => (on_base || op.base.is_none()) && current.is_live(),
            OpKind::Delete => on_base || op.base.is_none(),
        };
        if !applies {
            return Ok(PushOutcome::Conflict { current });
        }
        self.writes += 1;
        let version = RemoteVersion::ordered(self.writes.to_string(), self.writes);
        let state = match merge(&op, &current)? {
            Some(record) => RemoteState::Live(Versioned::new(record, version.clone())),
            None => RemoteState::Deleted(Tombstone {
                version: Some(version.clone()),
                ..Tombstone::default()
            }),
        };
        self.records.retain(|(key, _)| *key != op.key);
        self.records.push((op.key, state));
        Ok(PushOutcome::applied(version))
    }
}

/// The record as sent, or the current one with those fields that the operation is about.
fn merge(op: &PushOp, current: &RemoteState) -> Result<Option<Payload>> {
    let (ChangedFields::Only(names), Some(sent), Some(current)) =
        (&op.changed, &op.payload, current.payload())
    else {
        return Ok(op.payload.clone());
    };
    let (sent, mut merged) = (sent.to_object()?, current.to_object()?);
    merged.retain(|name, _| !names.contains(name));
    merged.extend(sent.into_iter().filter(|(name, _)| names.contains(name)));
    Ok(Some(Payload::from_object(&merged)))
}

#[async_trait]
impl RemoteStore for JsonFileRemote {
    fn name(&self) -> &str {
        "json-file"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            cursor: CursorKind::CommitOrdered,
            deletes: DeleteVisibility::Tombstones,
            conditional_write: true,
            ..Capabilities::minimal()
        }
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        self.with_content(|content| {
            let since = request.since.map_or(Some(0), |point| point.as_str().parse().ok());
            let Some(since) = since.filter(|since| (0..=content.writes).contains(since)) else {
                let why = "the file never was at this sync point";
                return Err(SyncError::new(ErrorKind::ResyncRequired, why));
            };
            let number = |state: &RemoteState| state.version().and_then(RemoteVersion::order);
            let is_new = |(key, state): &&(RecordKey, RemoteState)| {
                key.target == request.target && number(state) > Some(since)
            };
            let mut changed = content.records.iter().filter(is_new);
            let size = request.page_size as usize;
            let page: Vec<_> = changed.by_ref().take(size).cloned().collect();
            let next = page.last().and_then(|(_, state)| number(state)).unwrap_or(since);
            let change = |(key, state): (RecordKey, _)| RemoteChange { id: key.id, state };
            Ok(Delta {
                changes: page.into_iter().map(change).collect(),
                has_more: changed.next().is_some(),
                ..Delta::empty(SyncPoint::new(next.to_string()))
            })
        })
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        self.with_content(|content| batch.ops.into_iter().map(|op| content.apply(op)).collect())
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        let keys = ids.iter().map(|id| RecordKey::new(target.clone(), id.clone()));
        self.with_content(|content| Ok(keys.map(|key| content.state(&key)).collect()))
    }
}

/// Tells the conformance suite how to make an empty remote.
struct JsonFiles(tempfile::TempDir);

#[async_trait]
impl RemoteFixture for JsonFiles {
    async fn fresh(&self) -> Arc<dyn RemoteStore> {
        let path = self.0.path().join("suite.json");
        // Before the first case there is none.
        let _ = fs::remove_file(&path);
        Arc::new(JsonFileRemote {
            path,
            turns: Mutex::default(),
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "notes")]
struct Note {
    #[sync(id)]
    id: String,
    text: String,
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let report = remote_suite::run(&JsonFiles(tempfile::tempdir()?)).await;
    println!("{report}");
    if report.failures().next().is_some() {
        return Err("the remote does not keep its contract".into());
    }

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("notes.json");
    let scope = SyncScope::new("shared")?;
    let phone = device(&file).await?;
    let laptop = device(&file).await?;
    phone
        .enqueue_create(
            &scope,
            &Note {
                id: "1".into(),
                text: "written on the phone".into(),
            },
        )
        .await?;
    phone.synchronize(&scope).await?;
    for note in laptop.read(&scope, CachePolicy::OnlineOnly).await?.items {
        println!("the laptop reads: {}", note.text);
    }
    println!("the file holds: {}", fs::read_to_string(&file)?);
    Ok(())
}

async fn device(file: &Path) -> Result<SimpleSyncOrchestrator<Note>> {
    let store = Arc::new(MemoryLocalStore::new());
    SimpleSyncOrchestrator::open(
        store,
        Arc::new(JsonFileRemote {
            path: file.to_owned(),
            turns: Mutex::default(),
        }),
    )
    .await
}

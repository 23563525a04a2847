//! The PocketBase adapter beside bare loops over the same API, on a private server, as ratios.
//!
//! No store has a part in the times: the adapter's pulls and pushes are called as the engine calls them, and the loops
//! parse the same answers with the same HTTP client, page size and batch size. The adapter also makes records of rows,
//! refuses values that the server would change, gives versions to records, and proves after each page that the sign-in
//! is still good. The count of requests of an empty sync is that of a whole engine on the memory store.
//!
//! `cargo bench -p benches --bench pocketbase`, with `-- --quick` for a tenth of the records. Needs the program that
//! `scripts/fetch-pocketbase.sh` fetches.

#![allow(missing_docs)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adapter_pocketbase::{
    CollectionMapping, FieldKind, PocketBaseConfig, PocketBaseRemoteStore, Profile,
    feed::{FeedOptions, Operator, setup},
};
use async_trait::async_trait;
use benches::{Samples, Table};
use pocketbase_server::Server;
use serde_json::{Value, json};
use sync_core::{
    ChangedFields, CollectionName, CollectionSchema, Effects, EngineOptions, OpId, OpKind, Payload,
    PullRequest, PushBatch, PushOp, PushOutcome, RecordId, RecordKey, RemoteStore, Stamp, SyncEngine,
    SyncScope, Target, TokioTimer, resolve::LastWriteWins,
};
use sync_http::{
    BaseUrl, Credentials, FixedToken, HttpRequest, HttpResponse, HttpStream, Method, ReqwestTransport,
    Secret, Transport, TransportError, header,
};

type Failure = Box<dyn std::error::Error>;

const PAGE: u32 = 1_000;
const BATCH: usize = 50;
const ROUNDS: usize = 3;
/// Short, so that it is soon over.
const OVERLAP: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let scale = if quick { 10 } else { 1 };
    let table = Table::head();
    for profile in [Profile::Plain, Profile::Feed] {
        let bench = Bench::start(profile).await?;
        bench.push(&table, 5_000 / scale).await?;
        bench.fill(100_000 / scale).await?;
        bench.pull(&table).await?;
        bench.empty_sync(&table).await?;
    }
    Ok(())
}

/// A server with the collection `notes`, and everything that talks to it.
struct Bench {
    /// It ends when it is dropped.
    _server: Server,
    profile: Profile,
    transport: Arc<Counting>,
    remote: Arc<PocketBaseRemoteStore>,
    base: BaseUrl,
    token: Secret,
    target: Target,
}

/// Counts requests on their way.
#[derive(Debug)]
struct Counting {
    inner: ReqwestTransport,
    requests: AtomicU64,
}

#[async_trait]
impl Transport for Counting {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.inner.send(request).await
    }

    async fn open(&self, request: HttpRequest) -> Result<HttpStream, TransportError> {
        self.inner.open(request).await
    }
}

fn collection() -> Value {
    json!({
        "name": "notes", "type": "base",
        "listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": "",
        "fields": [
            {"name": "title", "type": "text"},
            {"name": "body", "type": "text"},
            {"name": "priority", "type": "number"},
            {"name": "done", "type": "bool"},
            {"name": "owner", "type": "text"},
            {"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true},
        ],
        "indexes": ["CREATE INDEX idx_notes_updated ON notes (owner, updated, id)"],
    })
}

/// The `n`-th record; about 300 bytes.
fn record(n: u64) -> Value {
    json!({
        "id": format!("n{n:014}"),
        "title": format!("{:<40}", format!("note number {n}")).replace(' ', "."),
        "body": format!("{:<120}", format!("the body of note {n}, as long as a person writes")).replace(' ', "."),
        "priority": n % 5,
        "done": n.is_multiple_of(3),
    })
}

fn with_owner(mut record: Value) -> Value {
    record["owner"] = "ada".into();
    record
}

impl Bench {
    async fn start(profile: Profile) -> Result<Self, Failure> {
        let server = Server::start().await?;
        server.admin().enable_batches(1_000, 30).await?;
        server.admin().import(&json!([collection()])).await?;
        let transport = Arc::new(Counting {
            inner: ReqwestTransport::new(Arc::new(TokioTimer))?,
            requests: AtomicU64::new(0),
        });
        let token = Secret::new(server.admin().token());
        if profile == Profile::Feed {
            let operator = Operator::with_token(transport.clone(), server.url(), token.clone())?;
            setup(&operator, &FeedOptions::new("notes")?.with_scope_field("owner")?).await?;
        }
        let mapping = CollectionMapping::fields(
            "notes",
            [
                ("title", FieldKind::Text),
                ("body", FieldKind::Text),
                ("priority", FieldKind::Number),
                ("done", FieldKind::Bool),
            ],
        )
        .with_scope_field("user", "owner");
        let config = PocketBaseConfig::new(server.url())?
            .with_collection(mapping)
            .with_push_batch(BATCH as u32)
            .with_overlap(OVERLAP);
        let tokens = Arc::new(FixedToken::new(Credentials::from_jwt(token.clone())));
        let remote =
            PocketBaseRemoteStore::connect(config, transport.clone(), tokens, Effects::tokio()).await?;
        Ok(Self {
            base: BaseUrl::parse(server.url())?,
            _server: server,
            profile,
            transport,
            remote: Arc::new(remote),
            token,
            target: Target::new(
                CollectionName::new("notes")?,
                SyncScope::new("bench")?.with("user", "ada")?,
            ),
        })
    }

    fn name(&self) -> &'static str {
        match self.profile {
            Profile::Plain => "plain",
            _ => "feed",
        }
    }

    async fn send(&self, request: HttpRequest) -> Result<Value, Failure> {
        let request = request.with_secret_header(header::AUTHORIZATION, "", &self.token)?;
        let response = self.transport.send(request).await?;
        if !response.status.is_success() {
            return Err(format!("the server answered {}", response.status).into());
        }
        Ok(response.json()?)
    }

    async fn send_batch(&self, records: impl Iterator<Item = Value>) -> Result<(), Failure> {
        let requests: Vec<Value> = records
            .map(|body| json!({"method": "POST", "url": "/api/collections/notes/records", "body": body}))
            .collect();
        let request = HttpRequest::new(Method::POST, self.base.join(["api", "batch"]))
            .with_json(&json!({ "requests": requests }))?;
        self.send(request).await.map(drop)
    }

    /// Creates in batches of 50: through the adapter, and as a bare loop.
    async fn push(&self, table: &Table, count: u64) -> Result<(), Failure> {
        let (mut ours, mut bare) = (Samples::default(), Samples::default());
        // In turns, so that a noisy moment of the machine hits both.
        for start in (0..count).step_by(BATCH) {
            let numbers = start..start + BATCH as u64;
            let ops = numbers
                .clone()
                .map(|n| self.create(1_000_000 + n))
                .collect::<Result<Vec<_>, _>>()?;
            let batch = PushBatch {
                scope: self.target.scope.clone(),
                ops,
                atomic: false,
            };
            let outcomes = ours.time_async(self.remote.push(batch)).await?;
            if !outcomes
                .iter()
                .all(|outcome| matches!(outcome, PushOutcome::Applied { .. }))
            {
                return Err("not every create was applied".into());
            }
            let records = numbers.map(|n| with_owner(record(2_000_000 + n)));
            bare.time_async(self.send_batch(records)).await?;
        }
        let what = format!(
            "{}: push {BATCH} creates, median of {}",
            self.name(),
            count / BATCH as u64
        );
        table.line(&what, ours.median_us(), bare.median_us());
        Ok(())
    }

    fn create(&self, n: u64) -> Result<PushOp, Failure> {
        let payload = record(n);
        let id = payload["id"].as_str().unwrap_or_default().to_owned();
        Ok(PushOp {
            op_id: format!("00000000-0000-7000-8000-{n:012x}").parse::<OpId>()?,
            key: RecordKey::new(self.target.clone(), RecordId::new(id)?),
            kind: OpKind::Create,
            payload: Some(Payload::parse(payload.to_string())?),
            changed: ChangedFields::All,
            base: None,
            stamp: Stamp::new(1_700_000_000_000 + n, 0, 1),
            schema_version: 1,
        })
    }

    async fn fill(&self, count: u64) -> Result<(), Failure> {
        for start in (0..count).step_by(1_000) {
            self.send_batch((start..start + 1_000).map(|n| with_owner(record(n))))
                .await?;
        }
        Ok(())
    }

    /// A first pull of everything: through the adapter, and as a bare keyset loop over the same index.
    async fn pull(&self, table: &Table) -> Result<(), Failure> {
        let (mut ours, mut bare) = (Samples::default(), Samples::default());
        let mut counts = (0, 0);
        for _ in 0..ROUNDS {
            counts.0 = ours.time_async(self.pull_all()).await?;
            counts.1 = bare.time_async(self.bare_loop()).await?;
        }
        if counts.0 != counts.1 {
            return Err(format!("the adapter pulled {} records, the loop {}", counts.0, counts.1).into());
        }
        let what = format!(
            "{}: first pull of {} records, median of {ROUNDS}",
            self.name(),
            counts.0
        );
        table.line(&what, ours.median_us(), bare.median_us());
        Ok(())
    }

    async fn pull_all(&self) -> Result<usize, Failure> {
        let mut request = PullRequest {
            target: self.target.clone(),
            since: None,
            page_size: PAGE,
            holds_nothing: true,
        };
        let mut pulled = 0;
        loop {
            let page = self.remote.pull(request.clone()).await?;
            pulled += page.changes.len();
            request.since = Some(page.next);
            if !page.has_more {
                return Ok(pulled);
            }
        }
    }

    async fn bare_loop(&self) -> Result<usize, Failure> {
        let (mut time, mut id, mut rev, mut pulled) = (String::new(), String::new(), 0_i64, 0);
        loop {
            let (filter, sort) = match self.profile {
                Profile::Plain => (
                    format!("owner = 'ada' && updated >= '{time}' && (updated > '{time}' || id > '{id}')"),
                    "updated,id",
                ),
                _ => (format!("owner = 'ada' && sync_rev > {rev}"), "sync_rev"),
            };
            let page_size = PAGE.to_string();
            let url = self.base.join(["api", "collections", "notes", "records"]);
            let request = HttpRequest::new(Method::GET, url).with_query([
                ("filter", filter.as_str()),
                ("sort", sort),
                ("perPage", &page_size),
                ("skipTotal", "1"),
            ]);
            let answer = self.send(request).await?;
            let rows = answer["items"].as_array().ok_or("no items")?;
            pulled += rows.len();
            let full = rows.len() == PAGE as usize;
            match rows.last() {
                Some(last) if full => {
                    time = last["updated"].as_str().unwrap_or_default().to_owned();
                    id = last["id"].as_str().unwrap_or_default().to_owned();
                    rev = last["sync_rev"].as_i64().unwrap_or_default();
                }
                _ => return Ok(pulled),
            }
        }
    }

    /// How many requests a sync takes when there is nothing to say.
    async fn empty_sync(&self, table: &Table) -> Result<(), Failure> {
        let store = Arc::new(adapter_memory::MemoryLocalStore::new());
        let engine = SyncEngine::builder(store, self.remote.clone())
            .register_schema(CollectionSchema::untyped("notes", "id")?, LastWriteWins)
            .options(EngineOptions::default().with_page_size(PAGE))
            .build()
            .await?;
        engine.synchronize(&self.target.scope).await?;
        // A plain server is read once more when the overlap is over. It tells its time in whole seconds.
        tokio::time::sleep(2 * OVERLAP + Duration::from_secs(1)).await;
        engine.synchronize(&self.target.scope).await?;
        let before = self.transport.requests.load(Ordering::Relaxed);
        engine.synchronize(&self.target.scope).await?;
        let requests = self.transport.requests.load(Ordering::Relaxed) - before;
        table.note(&format!(
            "{}: a sync without news takes {requests} requests",
            self.name()
        ));
        Ok(())
    }
}

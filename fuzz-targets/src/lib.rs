//! What is fuzzed: each function takes any bytes, and panics where a promise about them breaks.
//!
//! The folder `fuzz` at the top has one program for each of them, for cargo-fuzz. The test of this crate runs them on a
//! fixed set of inputs, so that they cannot rot.

mod adapters;

use std::{env, fmt::Debug, fs, path::PathBuf, sync::Arc, time::Duration};

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use futures::{executor::block_on, future::BoxFuture};
use sync_core::{
    CollectionName, CollectionSchema, Effects, ErrorKind, ExportedOp, Payload, PullRequest, RecordId,
    RemoteStore, ScopeKey, Spawner, SyncEngine, SyncPoint, SyncScope, Target,
    query::{Keyset, QuerySpec, count, evaluate},
    resolve::LastWriteWins,
};
use sync_http::{
    HeaderValue, HttpResponse, SseLimits, SseParser, StatusCode, header, parse_http_date, retry_after,
};
use sync_testkit::{effects::TestEffects, traces::parse_traces};

pub use adapters::{
    appwrite::{answers as appwrite, frames as appwrite_frames},
    pocketbase::{events as pocketbase_events, feed as pocketbase_feed, plain as pocketbase_plain},
    supabase::{feed as supabase_feed, frames as supabase_frames, table as supabase_table},
};

/// One function that is fuzzed.
#[derive(Clone, Copy)]
pub struct FuzzTarget {
    /// Its name, which is that of its program.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: &'static [&'static str],
}

impl Debug for FuzzTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FuzzTarget").field(&self.name).finish()
    }
}

/// All of them.
pub fn targets() -> impl Iterator<Item = &'static FuzzTarget> {
    READERS.iter().chain(adapters::TARGETS)
}

/// Those of what this workspace itself reads.
const READERS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "scope_key",
        run: scope_key,
        seeds: &[
            "inbox",
            "inbox?user=u1",
            "a%3Fb?k%3D=v%26&l=%25",
            "{\"name\":\"a\",\"keys\":{\"k\":\"v\"}}",
        ],
    },
    FuzzTarget {
        name: "sync_point",
        run: sync_point,
        seeds: &[
            "{\"epoch\":1,\"position\":{\"After\":1}}",
            "{\"epoch\":1,\"position\":{\"Snapshot\":{\"mark\":2,\"tombstones\":true,\"after\":\"r1\"}}}",
            "{\"epoch\":1,\"position\":{\"Everything\":{\"after\":null}}}",
        ],
    },
    FuzzTarget {
        name: "payload",
        run: payload,
        seeds: &[
            "{}",
            "{\"a\":[1,2.50,{\"b\":null}],\"c\":\"\\u0000\"}",
            "{\"a\":1,\"a\":2}",
            "9223372036854775808",
        ],
    },
    FuzzTarget {
        name: "import",
        run: import,
        seeds: &[
            "{\"op_id\":\"01930000-0000-7000-8000-000000000001\",\"collection\":\"todos\",\"scope\":{\"name\":\"inbox\",\
             \"keys\":{}},\"id\":\"r1\",\"kind\":\"create\",\"payload\":{\"id\":\"r1\"},\"changed\":\"All\",\"stamp\":\
             \"000000000001-0000-0000000000000001\",\"schema_version\":1,\"state\":\"Queued\"}",
            "\n\n{\"op_id\":1}\n",
        ],
    },
    FuzzTarget {
        name: "query",
        run: query,
        seeds: &[
            "{\"filter\":{\"compare\":{\"field\":\"n\",\"comparison\":{\"gt\":3}}},\"order_by\":[{\"field\":\"n\",\
             \"descending\":true}],\"limit\":2,\"offset\":1,\"after\":null}",
            "{\"filter\":{\"and\":[{\"not\":{\"or\":[]}}]}}",
            "{\"order_by\":[],\"position\":{\"values\":[],\"id\":\"r1\"}}",
        ],
    },
    FuzzTarget {
        name: "event_stream",
        run: event_stream,
        seeds: &[
            "event: poke\ndata: 1\ndata: 2\nid: 7\nretry: 30\n\n",
            "\u{feff}data\r\rdata:\r\n:comment\n\n",
        ],
    },
    FuzzTarget {
        name: "http_dates",
        run: http_dates,
        seeds: &[
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "120",
            "18446744073709551616",
        ],
    },
    FuzzTarget {
        name: "traces",
        run: traces,
        seeds: &[
            "{\"id\":\"a\",\"area\":\"outbox\",\"trace\":[{\"c\":\"A\",\"op\":\"create\",\"id\":\"1\"}]}",
            "{}\n{",
        ],
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static FuzzTarget> {
    targets().find(|target| target.name == name)
}

/// Writes the inputs that a target begins with as files into the folder that the environment variable `FUZZ_SEEDS`
/// names. Without it, nothing is done.
///
/// # Panics
/// If there is no such target, or a file cannot be written: a run from nothing would find less, and not tell.
pub fn write_seeds(name: &str) {
    let Some(folder) = env::var_os("FUZZ_SEEDS").map(PathBuf::from) else {
        return;
    };
    let target = target(name).unwrap_or_else(|| panic!("there is no target {name:?}"));
    for (number, seed) in target.seeds.iter().enumerate() {
        let path = folder.join(format!("seed-{number}"));
        fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn text(data: &[u8]) -> &str {
    std::str::from_utf8(data).unwrap_or_default()
}

/// A canonical text is that of exactly one scope, which comes back from both of its forms.
pub fn scope_key(data: &[u8]) {
    let same = |scope: &SyncScope| {
        let canonical = scope.key().as_str();
        let back = ScopeKey::parse(canonical).expect("a scope's own key is canonical");
        assert_eq!(&back, scope, "{canonical:?}");
        let json = serde_json::to_string(scope).expect("a scope renders");
        let back: SyncScope = serde_json::from_str(&json).expect("a scope's own JSON is read");
        assert_eq!(&back, scope, "{json}");
    };
    if let Ok(scope) = ScopeKey::parse(text(data)) {
        assert_eq!(scope.key().as_str(), text(data), "accepted and not canonical");
        same(&scope);
    }
    if let Ok(scope) = serde_json::from_slice::<SyncScope>(data) {
        same(&scope);
    }
}

fn target_of_tests() -> Target {
    let scope = SyncScope::new("inbox").expect("the name is valid");
    Target::new(CollectionName::new("todos").expect("the name is valid"), scope)
}

/// A sync point that the remote did not make is refused as such, or harmless.
pub fn sync_point(data: &[u8]) {
    let profiles = [
        MemoryRemoteStore::new(),
        MemoryRemoteStore::builder()
            .timestamp_profile(Duration::from_secs(5))
            .build(),
        MemoryRemoteStore::builder().snapshot_profile().build(),
    ];
    for remote in profiles {
        let scope = SyncScope::new("inbox").expect("the name is valid");
        let id = RecordId::new("r1").expect("the id is valid");
        let record = Payload::parse("{\"id\":\"r1\"}").expect("it is an object");
        remote.seed(&scope, &target_of_tests().collection, [(id, record)]);
        let request = PullRequest {
            target: target_of_tests(),
            since: Some(SyncPoint::new(text(data))),
            page_size: 1,
            holds_nothing: false,
        };
        if let Err(error) = block_on(remote.pull(request)) {
            assert_eq!(error.kind(), ErrorKind::ResyncRequired, "{error}");
        }
    }
}

/// A payload that is accepted is an object, and equal to itself however it is rendered.
pub fn payload(data: &[u8]) {
    let Ok(payload) = Payload::parse(text(data)) else {
        return;
    };
    let fields = payload.to_object().expect("what was accepted is an object");
    assert!(payload.same_content(&payload));
    assert!(
        payload.same_content(&Payload::from_object(&fields)),
        "{payload:?}"
    );
}

/// Every line of an import is written or reported, and an export of the result is imported again.
pub fn import(data: &[u8]) {
    let lines = text(data);
    block_on(async {
        let imported = engine()
            .await
            .import_ops(lines)
            .await
            .expect("a store in memory does not fail");
        let used = lines.lines().filter(|line| !line.trim().is_empty()).count();
        assert_eq!(imported.written.len() + imported.left_out.len(), used);
    });
    for line in lines.lines() {
        if let Ok(op) = serde_json::from_str::<ExportedOp>(line) {
            let json = serde_json::to_string(&op).expect("an operation renders");
            let back: ExportedOp = serde_json::from_str(&json).expect("an operation's own JSON is read");
            assert_eq!(back, op, "{json}");
        }
    }
}

/// Drops tasks: an import needs none.
#[derive(Debug)]
struct DropsTasks;

impl Spawner for DropsTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(task);
    }
}

async fn engine() -> SyncEngine {
    let effects: Effects = TestEffects::with_spawner(1, Arc::new(DropsTasks)).effects();
    let schema = CollectionSchema::untyped("todos", "id").expect("the names are valid");
    SyncEngine::builder(
        Arc::new(MemoryLocalStore::new()),
        Arc::new(MemoryRemoteStore::new()),
    )
    .register_schema(schema, LastWriteWins)
    .effects(effects)
    .build()
    .await
    .expect("the memory pair is sound")
}

/// A query comes back from its JSON, and one that is valid is answered.
pub fn query(data: &[u8]) {
    if let Ok(keyset) = serde_json::from_slice::<Keyset>(data) {
        let json = serde_json::to_string(&keyset).expect("a position renders");
        let back: Keyset = serde_json::from_str(&json).expect("a position's own JSON is read");
        assert_eq!(back, keyset, "{json}");
    }
    let Ok(spec) = serde_json::from_slice::<QuerySpec>(data) else {
        return;
    };
    let json = serde_json::to_string(&spec).expect("a query renders");
    let back: QuerySpec = serde_json::from_str(&json).expect("a query's own JSON is read");
    assert_eq!(back, spec, "{json}");
    let rows = [
        "{\"n\":1,\"t\":\"a\"}",
        "{\"n\":9007199254740993,\"t\":null}",
        "{\"t\":\"%_\\\\\"}",
        "{}",
    ];
    let rows = (0_u32..).zip(rows).map(|(number, record)| {
        let id = RecordId::new(format!("r{number}")).expect("the id is valid");
        (id, Payload::parse(record).expect("it is an object"))
    });
    let rows: Vec<_> = rows.collect();
    let answer = evaluate(&spec, rows.clone());
    assert_eq!(answer.is_ok(), spec.validate().is_ok(), "{spec:?}");
    if let Ok(answer) = answer {
        let counted = count(&spec, rows).expect("what is answered is counted");
        assert!(answer.len() as u64 <= counted, "{spec:?}");
    }
}

/// An event stream means the same however it is cut into pieces.
pub fn event_stream(data: &[u8]) {
    let mut whole = SseParser::new(SseLimits::default());
    let expected = whole.push(data);
    let mut cut = SseParser::new(SseLimits::default());
    let mut events = Vec::new();
    for byte in data {
        match cut.push(std::slice::from_ref(byte)) {
            Ok(more) => events.extend(more),
            Err(_) => {
                assert!(expected.is_err(), "a stream is too large only in pieces");
                return;
            }
        }
    }
    match expected {
        Ok(expected) => assert_eq!(events, expected),
        Err(error) => panic!("a stream is too large only as a whole: {error}"),
    }
    assert_eq!(cut.retry(), whole.retry());
}

/// Dates and pauses of any text are read or not, and a pause has a bound.
pub fn http_dates(data: &[u8]) {
    let _ = parse_http_date(text(data));
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut answer = HttpResponse::new(StatusCode::SERVICE_UNAVAILABLE, "");
    let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
    answer.headers.insert(header::DATE, date);
    answer.headers.insert(header::RETRY_AFTER, value);
    if let Some(pause) = retry_after(&answer) {
        assert!(pause <= Duration::from_secs(365 * 24 * 3_600), "{pause:?}");
    }
}

/// A file of traces is read, or refused with the line.
pub fn traces(data: &[u8]) {
    if let Err(error) = parse_traces("input", text(data)) {
        assert!(!error.to_string().is_empty());
    }
}

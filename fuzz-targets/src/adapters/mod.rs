//! What adapters make of the answers of a server that says anything at all.
//!
//! They are driven as any other remote, on a transport that answers with the lines of the input (see
//! [`Script`](script::Script)). Whatever comes, each call ends in virtual time, with an answer that keeps the contract
//! or an error that says what to do about it.

pub(crate) mod appwrite;
pub(crate) mod pocketbase;
mod script;
pub(crate) mod supabase;

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};
use serde_json::Value;
use sync_core::{
    ChangedFields, CollectionName, Delta, ErrorKind, OpId, OpKind, Payload, Poke, PullRequest, PushBatch,
    PushOp, RecordId, RecordKey, RemoteStore, RemoteVersion, Result, Stamp, SyncPoint, SyncScope, Target,
    query::{Filter, OrderBy, QuerySpec},
};
use sync_http::{
    Bytes, Credentials, FixedToken,
    testing::{ScriptedSockets, ScriptedTransport},
};
use sync_testkit::effects::TestEffects;
use uuid::Uuid;

use self::script::{Script, driven, ends};
use crate::{DropsTasks, FuzzTarget};

pub(crate) const TARGETS: &[FuzzTarget] = &[
    supabase::FEED,
    supabase::TABLE,
    supabase::FRAMES,
    pocketbase::FEED,
    pocketbase::PLAIN,
    pocketbase::EVENTS,
    appwrite::ANSWERS,
    appwrite::FRAMES,
];

/// The user whose scope is read.
const USER: &str = "u1";

const ADDRESS: &str = "http://server";

fn effects() -> TestEffects {
    TestEffects::with_spawner(1, Arc::new(DropsTasks))
}

fn token() -> Arc<FixedToken> {
    Arc::new(FixedToken::new(Credentials::new("token")))
}

fn scope() -> SyncScope {
    let scope = SyncScope::new("inbox").and_then(|scope| scope.with("user", USER));
    scope.expect("the names are valid")
}

fn target() -> Target {
    Target::new(CollectionName::new("todos").expect("the name is valid"), scope())
}

fn id(text: &str) -> RecordId {
    RecordId::new(text).expect("the id is valid")
}

fn pull(since: Option<SyncPoint>) -> PullRequest {
    PullRequest {
        target: target(),
        since,
        page_size: 2,
        holds_nothing: false,
    }
}

/// A create, an update and a delete.
fn batch() -> PushBatch {
    let op = |number: u128, record: &str, kind: OpKind| PushOp {
        op_id: OpId::from_uuid(Uuid::from_u128(number)),
        key: RecordKey::new(target(), id(record)),
        kind,
        payload: (kind != OpKind::Delete).then(|| {
            let text = format!("{{\"id\":\"{record}\",\"title\":\"tea\",\"count\":2}}");
            Payload::parse(text).expect("it is an object")
        }),
        changed: ChangedFields::All,
        base: (kind != OpKind::Create).then(|| RemoteVersion::opaque("1")),
        stamp: Stamp::new(1_735_689_600_000, 0, 1),
        schema_version: 1,
    };
    PushBatch {
        scope: scope(),
        ops: vec![
            op(1, "r1", OpKind::Create),
            op(2, "r2", OpKind::Update),
            op(3, "r3", OpKind::Delete),
        ],
        atomic: false,
    }
}

/// Makes each call of an adapter, each against the whole script, and holds what comes back against the contract.
///
/// `check_rows` compares the only answer that a pull has read with what it made of it.
fn call_everything<R: RemoteStore>(
    data: &[u8],
    connect: impl Fn(ScriptedTransport, &TestEffects) -> R,
    check_rows: impl Fn(&Value, &Delta),
) {
    let script = Script::read(data);
    let run = |script: &Script<'_>| {
        let (effects, transport) = (effects(), script.transport());
        (connect(transport.clone(), &effects), effects, transport)
    };

    for since in [None, script.since.clone()] {
        let (remote, effects, transport) = run(&script);
        let Some(delta) = checked(driven(&effects.clock, remote.pull(pull(since.clone())))) else {
            continue;
        };
        script.assert_read(&transport);
        check_delta(&delta, since.as_ref());
        if let Some(answer) = script.only_answer(&transport) {
            check_rows(&answer, &delta);
        }
        // The next pull begins where this one ended, if only it reaches the server.
        let (remote, effects, _) = run(&Script::default());
        let next = driven(&effects.clock, remote.pull(pull(Some(delta.next))));
        let error = next.expect_err("nobody answered");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    }

    let ids = [id("r1"), id("r2"), id("r3")];
    let (remote, effects, _) = run(&script);
    if let Some(states) = checked(driven(&effects.clock, remote.get(&target(), &ids))) {
        assert_eq!(states.len(), ids.len());
    }
    for atomic in [false, true] {
        let batch = PushBatch { atomic, ..batch() };
        let operations = batch.ops.len();
        let (remote, effects, _) = run(&script);
        if let Some(outcomes) = checked(driven(&effects.clock, remote.push(batch))) {
            assert_eq!(outcomes.len(), operations);
        }
    }
    let (remote, effects, _) = run(&script);
    checked(driven(&effects.clock, remote.list_ids(&target(), None, 2)));
    let spec = QuerySpec::new()
        .filter(Filter::gt("count", 1))
        .order_by(OrderBy::asc("title"))
        .limit(2);
    let (remote, effects, _) = run(&script);
    checked(driven(&effects.clock, remote.search(&target(), &spec)));
    let (remote, effects, _) = run(&script);
    checked(driven(&effects.clock, remote.server_time()));
}

/// What came of a call. No answer of a server is a defect of the client.
fn checked<T>(answer: Result<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn check_delta(delta: &Delta, since: Option<&SyncPoint>) {
    assert!(
        !delta.has_more || Some(&delta.next) != since,
        "there is more, for ever: {delta:?}"
    );
    for change in &delta.changes {
        if let Some(record) = change.state.payload() {
            record.to_object().expect("a record is an object");
        }
    }
}

/// A websocket on which the server sends these lines and is gone; those that are no text as binary frames. And how
/// many there are.
fn sockets(data: &[u8]) -> (Arc<ScriptedSockets>, usize) {
    let sockets = ScriptedSockets::new();
    let peer = sockets.expect();
    let mut frames = 0;
    for line in data.split(|byte| *byte == b'\n') {
        frames += 1;
        match std::str::from_utf8(line) {
            Ok(text) => peer.send_text(text),
            Err(_) => peer.send_binary(Bytes::copy_from_slice(line)),
        }
    }
    (Arc::new(sockets), frames)
}

/// Follows the news to their end, or to where nothing but the passing of time is left.
fn follow(effects: &TestEffects, subscribed: Result<BoxStream<'static, Poke>>, most: usize) {
    let Some(mut pokes) = checked(subscribed) else {
        return;
    };
    let mut heard = 0;
    while let Some(Some(poke)) = ends(&effects.clock, pokes.next()) {
        heard += 1;
        assert!(heard <= most, "news that nobody told");
        if let Poke::Changed(Some(of)) = poke {
            assert_eq!(of, target().collection);
        }
    }
}

//! Appwrite: rows, lists, transactions and errors, and the frames of its realtime server.

use std::sync::Arc;

use adapter_appwrite::{AppwriteConfig, AppwriteRemoteStore, Credential, Table};
use serde_json::Value;
use sync_core::{Delta, RemoteStore};
use sync_http::testing::{ScriptedSockets, ScriptedTransport};
use sync_testkit::effects::TestEffects;

use super::{ADDRESS, USER, call_everything, effects, follow, scope, script::driven, sockets, token};
use crate::FuzzTarget;

pub(super) const ANSWERS: FuzzTarget = FuzzTarget {
    name: "appwrite",
    run: answers,
    seeds: &[
        "{}\n{\"total\":0,\"rows\":[{\"title\":\"tea\",\"count\":1,\"deleted\":false,\"op_id\":null,\"owner\":\"u1\",\"$id\":\"r1\",\
         \"$sequence\":\"3\",\"$permissions\":[],\"$createdAt\":\"2024-11-21T07:42:39.517+00:00\",\"$updatedAt\":\
         \"2024-11-21T07:42:39.517+00:00\",\"$databaseId\":\"main\",\"$tableId\":\"todos\"},{\"deleted\":true,\"owner\":\"u1\",\
         \"$id\":\"r2\",\"$sequence\":4,\"$updatedAt\":\"2024-11-21T07:42:39.518+00:00\"}]}\n{\"$id\":\"u1\",\"email\":\"a@b.c\"}",
        "@{\"form\":1,\"user\":\"u1\",\"position\":{\"at\":{\"newest\":1732174959517,\"settled\":false,\"pulled_at\":1732174960000}}}\n\
         {\"rows\":[{\"$id\":\"R\",\"owner\":\"U1\"},7]}\n{\"$id\":\"u1\"}",
        "5\n5\n5",
        "409 {\"message\":\"Row with the requested ID already exists.\",\"code\":409,\"type\":\"row_already_exists\",\"version\":\
         \"1.9.5\"}\n{\"$id\":\"r1\",\"$sequence\":\"1\",\"$updatedAt\":\"2024-11-21T07:42:39.517+00:00\",\"title\":\"tea\",\"count\":2,\
         \"deleted\":false,\"owner\":\"u1\",\"op_id\":\"00000000-0000-0000-0000-000000000001\"}",
        "401 {\"message\":\"The current user is not authorized to perform the requested action.\",\"code\":401,\"type\":\
         \"user_unauthorized\",\"version\":\"1.9.5\"}\n{\"$id\":\"u1\"}",
        "400 {\"message\":\"Invalid query: Attribute not found in schema: deleted\",\"code\":400,\"type\":\
         \"general_query_invalid\"}\n404 <!DOCTYPE html>",
        "{\"rows\":[]}\n{\"$id\":\"u1\"}\n{\"rows\":[]}\n{\"$id\":\"u1\"}\n201 {\"$id\":\"t1\",\"status\":\"pending\",\"operations\":0}",
    ],
};

pub(super) const FRAMES: FuzzTarget = FuzzTarget {
    name: "appwrite_frames",
    run: frames,
    seeds: &[
        "{\"type\":\"connected\",\"data\":{\"channels\":[\"databases.main.tables.todos.rows\"],\"subscriptions\":[\"s\"],\"user\":\
         {\"$id\":\"u1\"}}}\n{\"type\":\"event\",\"data\":{\"events\":[\"tablesdb.main.tables.todos.rows.r1.create\"],\"channels\":\
         [\"databases.main.tables.todos.rows\"],\"timestamp\":\"2026-11-21T07:42:39.517+00:00\",\"payload\":{\"$id\":\"r1\"}}}\n\
         {\"type\":\"pong\"}",
        "{\"type\":\"error\",\"data\":{\"code\":1008,\"message\":\"Invalid origin\"}}",
    ],
};

fn config(effects: &TestEffects, sockets: Arc<ScriptedSockets>) -> AppwriteConfig {
    let table = Table::new("main", "todos").scope_column("user", "owner");
    AppwriteConfig::new(
        ADDRESS,
        "project",
        Credential::session(token()),
        effects.effects(),
    )
    .and_then(|config| config.table("inbox", "todos", table))
    .expect("the configuration is sound")
    .sockets(sockets)
}

/// A server that answers with these lines. It compares texts without regard to case, so that lists have rows of other
/// scopes.
pub fn answers(data: &[u8]) {
    let connect = |transport: ScriptedTransport, effects: &TestEffects| {
        let config = config(effects, Arc::default()).transport(Arc::new(transport));
        AppwriteRemoteStore::new(config).expect("a transport is given")
    };
    call_everything(data, connect, check_rows);
}

/// Every row of the scope is shown, and none of another one.
fn check_rows(answer: &Value, delta: &Delta) {
    let rows = answer["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let own = rows.iter().filter(|row| row["owner"] == USER).count();
    let shown = delta.changes.len() + delta.malformed.len();
    assert!(shown >= own, "a row is neither a change nor malformed: {delta:?}");
    for change in &delta.changes {
        let is_it = |row: &&Value| row["$id"] == change.id.as_str() && row["owner"] == USER;
        assert!(
            rows.iter().any(|row| is_it(&row)),
            "it is of another scope: {change:?}"
        );
    }
}

/// A realtime server that sends these lines as frames.
pub fn frames(data: &[u8]) {
    let (effects, (sockets, frames)) = (effects(), sockets(data));
    let config = config(&effects, sockets).transport(Arc::new(ScriptedTransport::new()));
    let remote = AppwriteRemoteStore::new(config).expect("a transport is given");
    let subscribed = driven(&effects.clock, remote.subscribe(&scope()));
    follow(&effects, subscribed, frames + 1);
}

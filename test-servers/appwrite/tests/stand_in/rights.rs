//! Who may do what: sessions, tokens, keys, teams and blocked users, as a test sets them.

use appwrite_stand_in::{Body, Column, ColumnKind, Machine, Profile, Request, StandIn, TableSpec};
use serde_json::{Value, json};

const ROWS: &str = "/v1/tablesdb/db1/tables/notes/rows";

/// A server with users alice and bob, whose rows only the users of their permissions see.
async fn server() -> StandIn {
    let server = StandIn::start(Profile::V1_9_6).await.unwrap();
    let title = Column::required("title", ColumnKind::Text { size: 128 });
    let table = TableSpec::new("notes")
        .permissions(&["create(\"users\")"])
        .row_security()
        .column(title);
    server.create_table("db1", &table);
    server.create_user("alice");
    server.create_user("bob");
    server
}

/// The status and the body of a request with one header.
fn ask(server: &StandIn, header: (&str, &str), method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::new(method, path).header("x-appwrite-project", "proj1");
    let request = request.header(header.0, header.1).json(body);
    let response = server.with_machine(|machine: &mut Machine| machine.answer(&request));
    match response.body {
        Body::Json(body) => (response.status, body),
        _ => (response.status, Value::Null),
    }
}

fn listed(server: &StandIn, header: (&str, &str)) -> Vec<String> {
    let (status, list) = ask(server, header, "GET", ROWS, &Value::Null);
    assert_eq!(status, 200, "{list}");
    let rows = list["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| row["$id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_row_shared_with_a_team_is_seen_by_its_members_without_a_new_stamp() {
    let server = server().await;
    let row = json!({"rowId": "a", "data": {"title": "plan"}, "permissions": ["read(\"team:crew\")"]});
    assert_eq!(server.as_key("POST", ROWS, &row).status, 201);
    let stamp = server.row("db1", "notes", "a").unwrap()["$updatedAt"].clone();
    let session = server.create_session("bob");
    let bob = ("x-appwrite-session", session.as_str());

    assert_eq!(listed(&server, bob), Vec::<String>::new());
    server.set_team_member("bob", "crew", true);
    assert_eq!(listed(&server, bob), ["a"]);
    server.set_team_member("bob", "crew", false);
    assert_eq!(listed(&server, bob), Vec::<String>::new());
    assert_eq!(server.row("db1", "notes", "a").unwrap()["$updatedAt"], stamp);
}

#[tokio::test]
async fn an_ended_session_is_a_guest_and_an_ended_token_is_refused() {
    let server = server().await;
    let (session, token) = (server.create_session("alice"), server.create_token("alice", 900));
    let (session, token) = (
        ("x-appwrite-session", session.as_str()),
        ("x-appwrite-jwt", token.as_str()),
    );
    let row = json!({"rowId": "a", "data": {"title": "mine"}});
    assert_eq!(ask(&server, session, "POST", ROWS, &row).0, 201);
    assert_eq!(
        (listed(&server, session), listed(&server, token)),
        (vec!["a".into()], vec!["a".into()])
    );

    server.end_sessions("alice");

    assert_eq!(listed(&server, session), Vec::<String>::new());
    let (status, error) = ask(&server, session, "GET", "/v1/account", &Value::Null);
    assert_eq!(
        (status, error["type"].as_str()),
        (401, Some("general_unauthorized_scope"))
    );
    let (status, error) = ask(&server, token, "GET", ROWS, &Value::Null);
    assert_eq!((status, error["type"].as_str()), (401, Some("user_jwt_invalid")));
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_a_blocked_user_is_refused() {
    let server = server().await;
    let token = server.create_token("alice", 60);
    let token = ("x-appwrite-jwt", token.as_str());
    assert_eq!(ask(&server, token, "GET", "/v1/account", &Value::Null).0, 200);
    server.advance_clock(std::time::Duration::from_secs(61));
    assert_eq!(ask(&server, token, "GET", "/v1/account", &Value::Null).0, 401);

    let session = server.create_session("bob");
    server.block_user("bob", true);
    let (status, error) = ask(
        &server,
        ("x-appwrite-session", &session),
        "GET",
        ROWS,
        &Value::Null,
    );
    assert_eq!((status, error["type"].as_str()), (403, Some("user_blocked")));
    server.block_user("bob", false);
    assert_eq!(
        ask(
            &server,
            ("x-appwrite-session", &session),
            "GET",
            ROWS,
            &Value::Null
        )
        .0,
        200
    );
}

#[tokio::test]
async fn a_transaction_that_outlived_its_time_takes_nothing_more() {
    let server = server().await;
    let session = server.create_session("alice");
    let alice = ("x-appwrite-session", session.as_str());
    let transactions = "/v1/tablesdb/transactions";
    let (_, begun) = ask(&server, alice, "POST", transactions, &json!({"ttl": 60}));
    let one = format!("{transactions}/{}", begun["$id"].as_str().unwrap());
    server.advance_clock(std::time::Duration::from_secs(61));

    let (status, error) = ask(&server, alice, "PATCH", &one, &json!({"commit": true}));
    assert_eq!(
        (status, error["type"].as_str()),
        (410, Some("transaction_expired"))
    );
    assert_eq!(ask(&server, alice, "DELETE", &one, &Value::Null).0, 204);
    assert_eq!(ask(&server, alice, "GET", &one, &Value::Null).0, 404);
}

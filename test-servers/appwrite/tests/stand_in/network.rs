//! The stand-in on its port: faults, held writes, realtime over a websocket.

use std::time::Duration;

use appwrite_stand_in::{
    Column, ColumnKind, Fault, Profile, RealtimeFault, RequestMatch, StandIn, TableSpec, Timestamp,
};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const ROWS: &str = "/v1/tablesdb/db1/tables/notes/rows";

/// A server with a table of notes, and a key for it.
async fn server() -> (StandIn, String) {
    let server = StandIn::start(Profile::V1_9_6).await.unwrap();
    let title = Column::required("title", ColumnKind::Text { size: 128 });
    server.create_table(
        "db1",
        &TableSpec::new("notes")
            .permissions(&["read(\"any\")"])
            .column(title),
    );
    let key = server.create_key();
    (server, key)
}

/// What came back: the status line and headers, and the body as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    head: String,
    body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Sends a request over a connection of its own and reads until the end.
pub(crate) async fn send(server: &StandIn, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-appwrite-project: proj1\r\n\
         x-appwrite-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A connection that is cut gives what came before.
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    // A body in chunks has a line with its size before each chunk.
    let body = if head.contains("chunked") {
        body.lines()
            .filter(|line| !line.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .collect()
    } else {
        body.to_owned()
    };
    Answer {
        head: head.to_owned(),
        body,
    }
}

pub(crate) async fn create(server: &StandIn, key: &str, id: &str) -> Answer {
    send(
        server,
        key,
        "POST",
        ROWS,
        &json!({"rowId": id, "data": {"title": "old"}}),
    )
    .await
}

#[tokio::test]
async fn a_dropped_request_has_no_effect_and_a_dropped_answer_has() {
    let (server, key) = server().await;
    server.fault(RequestMatch::method("POST").body("\"a\""), Fault::DropRequest);
    server.fault(RequestMatch::method("POST").body("\"b\""), Fault::DropAnswer);

    assert_eq!(create(&server, &key, "a").await.head, "");
    assert_eq!(create(&server, &key, "b").await.head, "");
    assert_eq!(create(&server, &key, "c").await.status(), 201);

    assert!(server.row("db1", "notes", "a").is_none());
    assert_eq!(server.row("db1", "notes", "b").unwrap()["title"], "old");
    let statuses: Vec<_> = server.requests().iter().map(|logged| logged.status).collect();
    assert_eq!(statuses, [None, None, Some(201)]);
}

#[tokio::test]
async fn refusals_pages_and_errors_after_the_effect_are_answered_as_asked() {
    let (server, key) = server().await;
    let unavailable = Fault::Refuse {
        status: 503,
        kind: "general_server_error",
    };
    server.fault_times(RequestMatch::any(), 1, 2, unavailable);
    let statuses = [
        create(&server, &key, "a").await.status(),
        create(&server, &key, "b").await.status(),
        create(&server, &key, "b").await.status(),
        create(&server, &key, "b").await.status(),
    ];
    assert_eq!(
        statuses,
        [201, 503, 503, 201],
        "one passes, two are refused, the next passes"
    );

    server.fault(RequestMatch::any(), Fault::Page { status: 502 });
    let page = create(&server, &key, "c").await;
    assert!(page.head.contains("text/html") && page.status() == 502);

    server.fault(
        RequestMatch::any(),
        Fault::FailAfter {
            status: 500,
            kind: "general_server_error",
        },
    );
    assert_eq!(create(&server, &key, "d").await.status(), 500);
    assert!(server.row("db1", "notes", "c").is_none() && server.row("db1", "notes", "d").is_some());
}

#[tokio::test]
async fn a_rate_limit_says_when_its_window_ends_and_not_how_long_to_wait() {
    let (server, key) = server().await;
    server.freeze_clock(Timestamp::parse("2026-11-21T08:00:10.500Z").unwrap());
    server.fault(RequestMatch::any(), Fault::RateLimit { seconds: 20 });

    let answer = create(&server, &key, "a").await;

    assert_eq!(
        (answer.status(), answer.json()["type"].as_str()),
        (429, Some("general_rate_limit_exceeded"))
    );
    let reset = Timestamp::parse("2026-11-21T08:00:30Z").unwrap().seconds();
    assert!(
        answer.head.contains(&format!("x-ratelimit-reset: {reset}")),
        "{}",
        answer.head
    );
    assert!(
        answer.head.contains("date: Sat, 21 Nov 2026 08:00:10 GMT"),
        "{}",
        answer.head
    );
    assert!(!answer.head.contains("retry-after"));
}

#[tokio::test]
async fn a_cut_answer_ends_early_and_a_slow_one_comes_whole() {
    let (server, key) = server().await;
    server.fault(RequestMatch::any(), Fault::CutBody);
    let cut = create(&server, &key, "a").await;
    assert!(
        cut.status() == 201 && cut.json() == Value::Null && !cut.body.is_empty(),
        "{cut:?}"
    );

    server.fault(RequestMatch::any(), Fault::SlowBody(Duration::from_millis(1)));
    let slow = create(&server, &key, "b").await;
    assert_eq!(slow.json()["$id"], "b", "{slow:?}");
}

#[tokio::test]
async fn a_held_write_is_stamped_at_its_arrival_and_seen_after_its_release() {
    let (server, key) = server().await;
    server.freeze_clock(Timestamp::parse("2026-11-21T08:00:00.000Z").unwrap());
    create(&server, &key, "late").await;
    create(&server, &key, "quick").await;
    server.advance_clock(Duration::from_secs(1));
    let mut held = server.hold_write(RequestMatch::method("PATCH").path("/rows/late"));

    let (path, body) = (format!("{ROWS}/late"), json!({"data": {"title": "new"}}));
    let write = send(&server, &key, "PATCH", &path, &body);
    let others = async {
        held.arrived().await;
        server.advance_clock(Duration::from_secs(1));
        let quick = send(&server, &key, "PATCH", &format!("{ROWS}/quick"), &body).await;
        assert_eq!(
            server.row("db1", "notes", "late").unwrap()["title"],
            "old",
            "it waits"
        );
        held.release();
        quick.json()["$updatedAt"].clone()
    };
    let (late, quick) = tokio::join!(write, others);

    assert_eq!(quick, "2026-11-21T08:00:02.000+00:00");
    assert_eq!(
        late.json()["$updatedAt"],
        "2026-11-21T08:00:01.000+00:00",
        "stamped before the other, seen after"
    );
    assert_eq!(server.row("db1", "notes", "late").unwrap()["title"], "new");
}

#[tokio::test]
async fn requests_go_round_the_application_servers_and_their_clocks() {
    let (server, key) = server().await;
    server.freeze_clock(Timestamp::parse("2026-11-21T08:00:00.000Z").unwrap());
    server.set_server_skews(&[0, 2500]);
    let first = create(&server, &key, "a").await.json()["$createdAt"].clone();
    let second = create(&server, &key, "b").await.json()["$createdAt"].clone();
    let mut stamps = [first, second].map(|stamp| stamp.as_str().unwrap_or_default().to_owned());
    stamps.sort();
    assert_eq!(
        stamps,
        ["2026-11-21T08:00:00.000+00:00", "2026-11-21T08:00:02.500+00:00"]
    );
}

#[tokio::test]
async fn what_a_test_tunes_has_its_effect() {
    let (server, key) = server().await;
    server.freeze_clock(Timestamp::parse("2026-11-21T08:00:00.000Z").unwrap());
    server.tick_on_write(true);
    for id in ["a", "b", "c"] {
        assert_eq!(create(&server, &key, id).await.status(), 201);
    }
    let rows = server.rows("db1", "notes");
    let stamps: Vec<_> = rows
        .iter()
        .map(|row| row["$updatedAt"].as_str().unwrap_or_default())
        .collect();
    assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{stamps:?}");

    server.cap_pages(Some(2));
    let list = send(&server, &key, "GET", ROWS, &Value::Null).await.json();
    assert_eq!(
        (list["rows"].as_array().map(Vec::len), &list["total"]),
        (Some(2), &json!(3))
    );

    server.damage_row("db1", "notes", "a", &json!({"title": 5}));
    let damaged = send(&server, &key, "GET", &format!("{ROWS}/a"), &Value::Null)
        .await
        .json();
    assert_eq!(damaged["title"], 5);

    server.end_key(&key);
    assert_eq!(send(&server, &key, "GET", ROWS, &Value::Null).await.status(), 401);
}

#[tokio::test]
async fn a_list_may_have_an_address_of_sixty_kilobytes() {
    let (server, key) = server().await;
    create(&server, &key, "a").await;
    let query = json!({"method": "notEqual", "attribute": "title", "values": ["x".repeat(3900)]}).to_string();
    let one = format!(
        "queries[]={}",
        query.replace('"', "%22").replace('{', "%7B").replace('}', "%7D")
    );
    let path = format!("{ROWS}?{}", [one.as_str(); 15].join("&"));
    assert!(path.len() > 58_000, "{}", path.len());

    let list = send(&server, &key, "GET", &path, &Value::Null).await;
    assert_eq!((list.status(), &list.json()["total"]), (200, &json!(1)));
    let logged = server.requests().pop().unwrap().request;
    assert_eq!((logged.query.len(), &logged.query[14].1), (15, &query));
}

type Listener = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

async fn listen(server: &StandIn) -> Listener {
    let url = format!(
        "ws://127.0.0.1:{}/v1/realtime?project=proj1&channels[]=databases.db1.tables.notes.rows",
        server.port()
    );
    let (mut listener, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(next(&mut listener).await.unwrap()["type"], "connected");
    listener
}

/// The next message, or nothing if the connection ended.
async fn next(listener: &mut Listener) -> Option<Value> {
    match listener.next().await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).ok(),
        _ => None,
    }
}

/// The titles of all events until the answer to a ping.
async fn titles(listener: &mut Listener) -> Vec<String> {
    listener.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    let mut heard = Vec::new();
    while let Some(message) = next(listener).await {
        if message["type"] == "pong" {
            break;
        }
        heard.push(
            message["data"]["payload"]["$id"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    heard
}

#[tokio::test]
async fn events_are_lost_doubled_and_swapped_as_asked() {
    let (server, key) = server().await;
    let mut listener = listen(&server).await;
    create(&server, &key, "a").await;
    assert_eq!(titles(&mut listener).await, ["a"]);

    server.set_realtime_fault(RealtimeFault::Duplicate);
    create(&server, &key, "b").await;
    assert_eq!(titles(&mut listener).await, ["b", "b"]);

    server.set_realtime_fault(RealtimeFault::Reorder);
    create(&server, &key, "c").await;
    create(&server, &key, "d").await;
    assert_eq!(titles(&mut listener).await, ["d", "c"]);

    server.set_realtime_fault(RealtimeFault::Silence);
    create(&server, &key, "e").await;
    server.set_realtime_fault(RealtimeFault::None);
    server.drop_realtime_events(1);
    create(&server, &key, "f").await;
    create(&server, &key, "g").await;
    assert_eq!(titles(&mut listener).await, ["g"]);
}

#[tokio::test]
async fn a_realtime_connection_ends_with_a_close_frame_or_without_one() {
    let (server, _) = server().await;
    let mut polite = listen(&server).await;
    assert_eq!(
        (server.realtime_connections(), server.realtime_subscriptions()),
        (1, 1)
    );
    server.close_realtime(true);
    assert!(matches!(polite.next().await, Some(Ok(Message::Close(_)))));

    let mut rude = listen(&server).await;
    server.close_realtime(false);
    assert!(!matches!(rude.next().await, Some(Ok(_))), "the stream just ends");
}

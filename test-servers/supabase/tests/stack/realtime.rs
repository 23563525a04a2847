//! The realtime websocket in both forms of its protocol.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use supabase_stack::Stack;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::project::{insert, stack};

const PATIENCE: Duration = Duration::from_secs(10);

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    version: &'static str,
}

impl Client {
    async fn connect(stack: &Stack, version: &'static str) -> Self {
        let address = stack.url().replace("http", "ws");
        let key = stack.publishable_key();
        let url = format!("{address}/realtime/v1/websocket?apikey={key}&vsn={version}");
        let (socket, _) = connect_async(url).await.unwrap();
        Self { socket, version }
    }

    async fn send(&mut self, topic: &str, event: &str, payload: Value) {
        let frame = match self.version {
            "2.0.0" => json!(["1", "7", topic, event, payload]),
            _ => json!({"join_ref": "1", "ref": "7", "topic": topic, "event": event, "payload": payload}),
        };
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next message as event and payload; `None` when the socket has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            match timeout(PATIENCE, self.socket.next())
                .await
                .expect("a message in time")
            {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    let (event, payload) = match self.version {
                        "2.0.0" => (&frame[3], &frame[4]),
                        _ => (&frame["event"], &frame["payload"]),
                    };
                    return Some((event.as_str().unwrap().to_owned(), payload.clone()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn join(&mut self, topic: &str, config: Value, token: Option<&str>) -> Value {
        self.send(
            topic,
            "phx_join",
            json!({"config": config, "access_token": token}),
        )
        .await;
        let (event, payload) = self.next().await.unwrap();
        assert_eq!(event, "phx_reply");
        payload
    }
}

#[tokio::test]
async fn both_protocols_join_hear_and_leave() {
    let Some(stack) = stack().await else { return };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let token = stack.access_token(&user);
    for (number, version) in [(1, "1.0.0"), (2, "2.0.0")] {
        let mut client = Client::connect(&stack, version).await;
        client.send("phoenix", "heartbeat", json!({})).await;
        assert_eq!(client.next().await.unwrap().1["status"], "ok");
        let changes = json!({"postgres_changes": [{"event": "*", "schema": "public", "table": "todo"}]});
        let reply = client.join("realtime:any", changes, Some(&token)).await;
        assert_eq!(
            (
                &reply["status"],
                reply["response"]["postgres_changes"].as_array().unwrap().len()
            ),
            (&json!("ok"), 1)
        );
        let (event, payload) = client.next().await.unwrap();
        assert_eq!(
            (event.as_str(), &payload["extension"], &payload["status"]),
            ("system", &json!("postgres_changes"), &json!("ok"))
        );
        insert(&stack, &token, number).await;
        let (event, payload) = client.next().await.unwrap();
        assert_eq!(
            (event.as_str(), &payload["data"]["type"]),
            ("postgres_changes", &json!("INSERT"))
        );
        assert_eq!(payload["data"]["record"]["title"], number.to_string());
        client.send("realtime:any", "phx_leave", json!({})).await;
        assert_eq!(client.next().await.unwrap().0, "phx_reply");
        assert_eq!(client.next().await.unwrap().0, "phx_close");
        assert!(stack.realtime().joined().is_empty());
    }
    stack.stop().await;
}

#[tokio::test]
async fn private_channels_are_for_those_whom_a_policy_lets_in() {
    let Some(stack) = stack().await else { return };
    let ada = stack.add_user("ada@example.com", "secret").await.unwrap();
    let bob = stack.add_user("bob@example.com", "secret").await.unwrap();
    let topic = format!("realtime:own:{ada}");
    let mut client = Client::connect(&stack, "2.0.0").await;
    for token in [None, Some(stack.access_token(&bob))] {
        let reply = client
            .join(&topic, json!({"private": true}), token.as_deref())
            .await;
        assert!(
            reply["response"]["reason"]
                .as_str()
                .unwrap()
                .starts_with("Unauthorized"),
            "{reply}"
        );
    }
    let reply = client
        .join(&topic, json!({"private": true}), Some(&stack.access_token(&ada)))
        .await;
    assert_eq!(reply["status"], "ok");
    let send = format!("select realtime.send('{{\"seq\": 5}}', 'poke', 'own:{ada}')");
    stack.run_sql(&send).await.unwrap();
    let (event, payload) = client.next().await.unwrap();
    assert_eq!(
        (event.as_str(), payload),
        (
            "broadcast",
            json!({"type": "broadcast", "event": "poke", "payload": {"seq": 5}})
        )
    );
    // Swallowed news do not arrive, later ones do.
    stack.realtime().swallow_pokes(true);
    stack.run_sql(&send).await.unwrap();
    while stack.realtime().swallowed() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stack.realtime().swallow_pokes(false);
    stack.run_sql(&send.replace("5}", "6}")).await.unwrap();
    assert_eq!(client.next().await.unwrap().1["payload"]["seq"], 6);
    stack.stop().await;
}

#[tokio::test]
async fn tokens_expire_on_a_channel_unless_a_new_one_is_pushed() {
    let Some(stack) = stack().await else { return };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let mut client = Client::connect(&stack, "1.0.0").await;
    client
        .join("realtime:kept", json!({}), Some(&stack.access_token(&user)))
        .await;
    client
        .join("realtime:lost", json!({}), Some(&stack.access_token(&user)))
        .await;
    stack.auth().set_token_lifetime(Duration::from_secs(7200));
    client
        .send(
            "realtime:kept",
            "access_token",
            json!({"access_token": stack.access_token(&user)}),
        )
        .await;
    client.send("phoenix", "heartbeat", json!({})).await;
    client.next().await.unwrap();
    stack.auth().advance_clock(Duration::from_secs(3700));
    let (event, payload) = client.next().await.unwrap();
    assert_eq!((event.as_str(), &payload["channel"]), ("system", &json!("lost")));
    assert!(
        payload["message"]
            .as_str()
            .unwrap()
            .starts_with("Token has expired")
    );
    assert_eq!(client.next().await.unwrap().0, "phx_close");
    assert_eq!(stack.realtime().joined(), ["kept"]);
    let reply = client.join("realtime:lost", json!({}), Some("not a token")).await;
    assert!(
        reply["response"]["reason"]
            .as_str()
            .unwrap()
            .starts_with("InvalidJWTToken")
    );
    stack.stop().await;
}

#[tokio::test]
async fn sockets_are_killed_and_joins_refused_on_demand() {
    let Some(stack) = stack().await else { return };
    let mut client = Client::connect(&stack, "2.0.0").await;
    stack
        .realtime()
        .refuse_joins(Some("ChannelRateLimitReached: Too many channels"));
    let reply = client.join("realtime:x", json!({}), None).await;
    assert_eq!(reply["status"], "error");
    stack.realtime().refuse_joins(None);
    assert_eq!(client.join("realtime:x", json!({}), None).await["status"], "ok");
    stack.realtime().kill_sockets();
    assert_eq!(client.next().await, None);
    let mut again = Client::connect(&stack, "2.0.0").await;
    assert_eq!(again.join("realtime:x", json!({}), None).await["status"], "ok");
    let without_key = format!("{}/realtime/v1/websocket", stack.url().replace("http", "ws"));
    assert!(connect_async(without_key).await.is_err());
    stack.stop().await;
}

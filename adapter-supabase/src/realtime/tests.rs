//! What goes over the socket and when, with a server played by the test and a clock that the test moves.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use sync_core::{ErrorKind, Poke, Result, SyncError, SyncScope};
use sync_http::{
    BaseUrl, Credentials, Secret, TokenSource, TransportErrorKind,
    testing::{ScriptedSockets, SocketPeer},
};
use sync_testkit::effects::TestEffects;

use super::{Channel, PhoenixVersion, Realtime, RealtimeOptions};

const TOPIC: &str = "realtime:sync:team";

/// Gives the token it holds; renewing adds an `'`.
#[derive(Debug)]
struct Tokens(Mutex<String>);

#[async_trait]
impl TokenSource for Tokens {
    async fn credentials(&self) -> Result<Option<Credentials>> {
        Ok(Some(Credentials::new(self.0.lock().unwrap().clone())))
    }

    async fn renew(&self, _refused: Option<&Credentials>) -> Result<Credentials> {
        let mut token = self.0.lock().unwrap();
        token.push('\'');
        Ok(Credentials::new(token.clone()))
    }
}

struct Stage {
    effects: TestEffects,
    sockets: ScriptedSockets,
    tokens: Arc<Tokens>,
    realtime: Realtime,
}

impl Stage {
    fn new() -> Self {
        let effects = TestEffects::tokio(11);
        let sockets = ScriptedSockets::new();
        let tokens = Arc::new(Tokens(Mutex::new("t".to_owned())));
        let realtime = Realtime {
            project: BaseUrl::parse("https://project.example").unwrap(),
            key: Secret::new("sb_publishable_k"),
            tokens: tokens.clone(),
            sockets: Arc::new(sockets.clone()),
            effects: effects.effects(),
            options: RealtimeOptions::default(),
        };
        Self {
            effects,
            sockets,
            tokens,
            realtime,
        }
    }

    /// Listens, on a connection whose join the server answers with `ok`.
    async fn listen(&self) -> (Server, BoxStream<'static, Poke>) {
        let server = self.willing();
        let channel = Channel::of_feed(SyncScope::new("team").unwrap().key());
        let mut pokes = self.realtime.listen(channel).await.unwrap();
        assert_eq!(pokes.next().await, Some(Poke::Subscribed));
        (server, pokes)
    }

    async fn refused(&self) -> SyncError {
        let channel = Channel::of_feed(SyncScope::new("team").unwrap().key());
        self.realtime.listen(channel).await.err().expect("a refusal")
    }

    /// The next connection; its join is answered with `ok`.
    fn willing(&self) -> Server {
        let server = Server(self.sockets.expect());
        server.answer("1", TOPIC, "ok", json!({"postgres_changes": []}));
        server
    }

    /// The next connection; its join is refused.
    fn unwilling(&self, reason: &str) -> Server {
        let server = Server(self.sockets.expect());
        server.answer("1", TOPIC, "error", json!({"reason": reason}));
        server
    }

    /// The stream's next poke if it comes without waiting, after `time` has gone by.
    fn after(&self, time: Duration, pokes: &mut BoxStream<'static, Poke>) -> Option<Option<Poke>> {
        // What sleeps now is what the time must pass for.
        let early = pokes.next().now_or_never();
        if early.is_some() {
            return early;
        }
        self.effects.clock.advance(time);
        pokes.next().now_or_never()
    }
}

/// The server's end of a connection.
struct Server(SocketPeer);

impl Server {
    fn send(&self, reference: Option<&str>, topic: &str, event: &str, payload: &Value) {
        self.0
            .send_text(json!([null, reference, topic, event, payload]).to_string());
    }

    fn answer(&self, reference: &str, topic: &str, status: &str, response: Value) {
        let payload = json!({"status": status, "response": response});
        self.send(Some(reference), topic, "phx_reply", &payload);
    }

    /// What the client sent, if anything.
    fn heard(&mut self) -> Option<(String, Value)> {
        let text = self.0.next_text().now_or_never()??;
        let [_, _, _, event, payload]: [Value; 5] = serde_json::from_str(&text).unwrap();
        Some((event.as_str().unwrap().to_owned(), payload))
    }
}

const BEAT: Duration = Duration::from_secs(25);

#[tokio::test]
async fn the_address_carries_the_key_and_the_version_and_the_join_carries_the_token() {
    for version in [PhoenixVersion::V1, PhoenixVersion::V2] {
        let mut stage = Stage::new();
        stage.realtime.options = RealtimeOptions::default().with_protocol(version);
        let mut peer = stage.sockets.expect();
        let reply = json!({"status": "ok", "response": {}});
        peer.send_text(match version {
            PhoenixVersion::V1 => {
                json!({"topic": TOPIC, "event": "phx_reply", "payload": reply, "ref": "1", "join_ref": "1"})
                    .to_string()
            }
            PhoenixVersion::V2 => json!(["1", "1", TOPIC, "phx_reply", reply]).to_string(),
        });
        let channel = Channel::of_feed(SyncScope::new("team").unwrap().key());
        let mut pokes = stage.realtime.listen(channel).await.unwrap();
        assert_eq!(pokes.next().await, Some(Poke::Subscribed));
        let url = stage.sockets.requests()[0].url.to_string();
        assert_eq!(
            url,
            format!(
                "wss://project.example/realtime/v1/websocket?apikey=sb_publishable_k&vsn={}",
                version.as_str()
            )
        );
        let join: Value = serde_json::from_str(&peer.next_text().await.unwrap()).unwrap();
        let payload = if version == PhoenixVersion::V1 {
            &join["payload"]
        } else {
            &join[4]
        };
        assert_eq!(payload["access_token"], "t");
        assert_eq!(payload["config"]["private"], true);
    }
}

#[tokio::test]
async fn a_heartbeat_goes_out_every_25_seconds_as_long_as_the_last_was_answered() {
    let stage = Stage::new();
    let (mut server, mut pokes) = stage.listen().await;
    assert_eq!(server.heard().unwrap().0, "phx_join");
    for reference in ["2", "3", "4"] {
        assert_eq!(stage.after(BEAT - Duration::from_secs(1), &mut pokes), None);
        assert_eq!(server.heard(), None, "too early");
        assert_eq!(stage.after(Duration::from_secs(1), &mut pokes), None);
        assert_eq!(server.heard(), Some(("heartbeat".to_owned(), json!({}))));
        server.answer(reference, "phoenix", "ok", json!({}));
    }
    assert_eq!(stage.sockets.requests().len(), 1);
}

#[tokio::test]
async fn a_heartbeat_without_an_answer_ends_the_connection_and_another_is_made() {
    let stage = Stage::new();
    let (mut server, mut pokes) = stage.listen().await;
    assert_eq!(stage.after(BEAT, &mut pokes), None);
    // An answer to something else is not the one that is waited for.
    server.answer("77", "phoenix", "ok", json!({}));
    let _second = stage.willing();
    assert_eq!(
        stage.after(BEAT, &mut pokes),
        None,
        "the pause before the next attempt"
    );
    assert_eq!(
        stage.after(Duration::from_secs(1), &mut pokes),
        Some(Some(Poke::Subscribed))
    );
    assert_eq!(server.heard().unwrap().0, "phx_join");
    assert_eq!(server.heard().unwrap().0, "heartbeat");
    assert_eq!(
        server.0.next_text().await,
        None,
        "the first connection was given up"
    );
}

#[tokio::test]
async fn case_38_a_lost_socket_is_joined_again_and_pulled_before_its_pokes_are_trusted() {
    let stage = Stage::new();
    let (server, mut pokes) = stage.listen().await;
    server.send(
        None,
        TOPIC,
        "broadcast",
        &json!({"event": "poke", "payload": {"seq": 1}}),
    );
    assert_eq!(pokes.next().await, Some(Poke::Changed(None)));
    stage.sockets.refuse(TransportErrorKind::Connect);
    let second = stage.willing();
    second.send(
        None,
        TOPIC,
        "broadcast",
        &json!({"event": "poke", "payload": {"seq": 9}}),
    );
    drop(server);
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Some(poke) = stage.after(Duration::from_secs(2), &mut pokes) {
            told.push(poke.expect("the stream goes on"));
        }
    }
    assert_eq!(told, [Poke::Subscribed, Poke::Changed(None)]);
    assert_eq!(stage.sockets.requests().len(), 3);
}

#[tokio::test]
async fn case_39_the_word_that_changes_arrive_from_now_on_is_a_poke_of_its_own() {
    let stage = Stage::new();
    let (server, mut pokes) = stage.listen().await;
    assert_eq!(pokes.next().now_or_never(), None, "the join was told already");
    let ready =
        json!({"extension": "postgres_changes", "status": "ok", "message": "Subscribed to PostgreSQL"});
    server.send(None, TOPIC, "system", &ready);
    assert_eq!(pokes.next().now_or_never(), Some(Some(Poke::Changed(None))));
}

#[tokio::test]
async fn case_40_a_renewed_token_is_passed_on_with_the_next_heartbeat_and_only_once() {
    let stage = Stage::new();
    let (mut server, mut pokes) = stage.listen().await;
    assert_eq!(server.heard().unwrap().0, "phx_join");
    *stage.tokens.0.lock().unwrap() = "renewed".to_owned();
    assert_eq!(stage.after(BEAT, &mut pokes), None);
    assert_eq!(
        server.heard(),
        Some(("access_token".to_owned(), json!({"access_token": "renewed"})))
    );
    assert_eq!(server.heard().unwrap().0, "heartbeat");
    server.answer("3", "phoenix", "ok", json!({}));
    assert_eq!(stage.after(BEAT, &mut pokes), None);
    assert_eq!(server.heard().unwrap().0, "heartbeat");
    assert_eq!(server.heard(), None);
}

#[tokio::test]
async fn a_token_that_the_server_calls_expired_is_renewed_for_the_next_join() {
    let stage = Stage::new();
    let (server, mut pokes) = stage.listen().await;
    // The clock of this device has not noticed: the first join comes with the same token.
    let _refused = stage.unwilling("InvalidJWTToken: Token has expired 5 seconds ago");
    let mut third = stage.willing();
    let expired =
        json!({"extension": "system", "status": "error", "message": "Token has expired 5 seconds ago"});
    server.send(None, TOPIC, "system", &expired);
    assert_eq!(
        stage.after(Duration::from_secs(2), &mut pokes),
        Some(Some(Poke::Subscribed))
    );
    assert_eq!(third.heard().unwrap().1["access_token"], "t'");
}

#[tokio::test]
async fn case_41_a_join_refused_by_a_limit_is_an_error_that_passes_and_later_ones_stay_in_the_stream() {
    let stage = Stage::new();
    let limit = "ChannelRateLimitReached: Too many channels";
    let _refused = stage.unwilling(limit);
    assert_eq!(stage.refused().await.kind(), ErrorKind::RateLimited);

    let (server, mut pokes) = stage.listen().await;
    let _refusals = [stage.unwilling(limit), stage.unwilling(limit)];
    let _willing = stage.willing();
    drop(server);
    let mut seconds = 0;
    let poke = loop {
        seconds += 1;
        if let Some(poke) = stage.after(Duration::from_secs(1), &mut pokes) {
            break poke;
        }
        assert!(seconds < 60, "no further attempt");
    };
    assert_eq!(poke, Some(Poke::Subscribed));
}

#[tokio::test]
async fn a_channel_that_the_user_may_not_hear_ends_the_stream() {
    let stage = Stage::new();
    let (server, mut pokes) = stage.listen().await;
    let _refused = stage.unwilling("Unauthorized: You do not have permissions");
    drop(server);
    assert_eq!(stage.after(Duration::from_secs(2), &mut pokes), Some(None));
}

#[tokio::test]
async fn a_join_without_an_answer_is_given_up() {
    let stage = Stage::new();
    let _silent = stage.sockets.expect();
    let channel = Channel::of_feed(SyncScope::new("team").unwrap().key());
    let mut listening = stage.realtime.listen(channel).boxed();
    assert!((&mut listening).now_or_never().is_none());
    stage.effects.clock.advance(Duration::from_secs(10));
    let error = listening.now_or_never().unwrap().err().expect("a timeout");
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

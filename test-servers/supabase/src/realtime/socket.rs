//! One websocket: its channels, and what goes over it.

use std::{
    ops::ControlFlow,
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{
    News, Realtime, access,
    channel::{Channel, Subscription},
    frames::{Frame, Serializer},
};
use crate::{
    gateway::Gateway,
    jwt::{self, Refused},
};

/// How often tokens and beginnings are looked at.
const TICK: Duration = Duration::from_millis(20);

static SUBSCRIPTIONS: AtomicU64 = AtomicU64::new(1);

struct Socket<'a> {
    realtime: &'a Realtime,
    gateway: &'a Gateway,
    stream: WebSocketStream<TokioIo<Upgraded>>,
    serializer: Serializer,
    role: &'static str,
    channels: Vec<Channel>,
}

/// Serves a websocket until it ends.
pub(super) async fn run(
    realtime: &Realtime,
    gateway: &Gateway,
    stream: WebSocketStream<TokioIo<Upgraded>>,
    mut news: broadcast::Receiver<News>,
    serializer: Serializer,
    role: &'static str,
) {
    let mut socket = Socket {
        realtime,
        gateway,
        stream,
        serializer,
        role,
        channels: Vec::new(),
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let goes_on = tokio::select! {
            message = socket.stream.next() => match message {
                Some(Ok(Message::Text(text))) => match serializer.read(&text) {
                    Some(frame) => socket.receive(frame).await,
                    None => ControlFlow::Continue(()),
                },
                Some(Ok(Message::Ping(data))) => socket.send_message(Message::Pong(data)).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => ControlFlow::Break(()),
                Some(Ok(_)) => ControlFlow::Continue(()),
            },
            news = news.recv() => match news {
                Ok(news) => socket.hear(news).await,
                Err(RecvError::Lagged(_)) => ControlFlow::Continue(()),
                Err(RecvError::Closed) => ControlFlow::Break(()),
            },
            _ = ticks.tick() => socket.tick().await,
        };
        if goes_on.is_break() {
            break;
        }
    }
    for channel in std::mem::take(&mut socket.channels) {
        socket.forget(&channel);
    }
}

impl Socket<'_> {
    async fn send_message(&mut self, message: Message) -> ControlFlow<()> {
        match self.stream.send(message).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    async fn send(&mut self, frame: Frame) -> ControlFlow<()> {
        let text = self.serializer.write(&frame);
        self.send_message(Message::text(text)).await
    }

    fn forget(&self, channel: &Channel) {
        let mut joined = self
            .realtime
            .joined
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = joined.iter().position(|topic| topic == channel.name()) {
            joined.remove(place);
        }
    }

    async fn receive(&mut self, frame: Frame) -> ControlFlow<()> {
        match frame.event.as_str() {
            "heartbeat" => self.send(frame.reply("ok", json!({}))).await,
            "phx_join" => self.join(frame).await,
            "phx_leave" => {
                self.leave(&frame.topic);
                self.send(frame.reply("ok", json!({}))).await?;
                let closed = Frame {
                    event: "phx_close".to_owned(),
                    payload: json!({}),
                    ..frame
                };
                self.send(closed).await
            }
            "access_token" => {
                let token = frame.payload["access_token"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                // Keys and nothing are not taken for tokens.
                if !token.is_empty() && !token.starts_with("sb_") {
                    let claims = jwt::verify(&token, self.gateway.auth.now());
                    for channel in self
                        .channels
                        .iter_mut()
                        .filter(|channel| channel.topic == frame.topic)
                    {
                        match &claims {
                            Ok(claims) => channel.claims = claims.clone(),
                            Err(_) => channel.claims = json!({"exp": 0}),
                        }
                    }
                }
                ControlFlow::Continue(())
            }
            "broadcast" => {
                let sender = self.channels.iter().find(|channel| channel.topic == frame.topic);
                if let Some(channel) = sender {
                    self.realtime.announce(News::Broadcast {
                        topic: channel.name().to_owned(),
                        event: frame.payload["event"].as_str().unwrap_or_default().to_owned(),
                        payload: frame.payload["payload"].clone(),
                        private: channel.private,
                    });
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn leave(&mut self, topic: &str) {
        let (left, kept) = std::mem::take(&mut self.channels)
            .into_iter()
            .partition(|channel| channel.topic == topic);
        self.channels = kept;
        let left: Vec<Channel> = left;
        for channel in &left {
            self.forget(channel);
        }
    }

    async fn join(&mut self, frame: Frame) -> ControlFlow<()> {
        let refusal = self
            .realtime
            .refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(reason) = refusal {
            return self.send(frame.reply("error", json!({"reason": reason}))).await;
        }
        let config = &frame.payload["config"];
        let token = frame.payload["access_token"]
            .as_str()
            .filter(|token| !token.starts_with("sb_"));
        let claims = match token.map(|token| jwt::verify(token, self.gateway.auth.now())) {
            None => json!({"role": self.role}),
            Some(Ok(claims)) => claims,
            Some(Err(refused)) => {
                let reason = match refused {
                    Refused::Expired(ago) => format!("InvalidJWTToken: Token has expired {ago} seconds ago"),
                    Refused::Invalid => "InvalidJWTToken: signature_error".to_owned(),
                };
                return self.send(frame.reply("error", json!({"reason": reason}))).await;
            }
        };
        let name = frame
            .topic
            .strip_prefix("realtime:")
            .unwrap_or_default()
            .to_owned();
        if config["private"] == true {
            let may = access::may_join(&self.realtime.pool, &claims, &name).await;
            if !may.is_ok_and(|may| may) {
                let reason = "Unauthorized: You do not have permissions to read from this Channel topic: "
                    .to_owned()
                    + &name;
                return self.send(frame.reply("error", json!({"reason": reason}))).await;
            }
        }
        let subscriptions = Subscription::of(config, || SUBSCRIPTIONS.fetch_add(1, Ordering::Relaxed));
        let answer: Vec<Value> = subscriptions.iter().map(Subscription::answer).collect();
        let delay = *self
            .realtime
            .replication_delay
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.leave(&frame.topic);
        let begins = (!subscriptions.is_empty()).then(|| Instant::now() + delay);
        self.channels.push(Channel {
            topic: frame.topic.clone(),
            join_ref: frame.join_ref.clone(),
            claims,
            private: config["private"] == true,
            subscriptions,
            begins,
        });
        self.realtime
            .joined
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name);
        self.send(frame.reply("ok", json!({"postgres_changes": answer})))
            .await
    }

    async fn hear(&mut self, news: News) -> ControlFlow<()> {
        let mut frames = Vec::new();
        match news {
            News::Kill => return ControlFlow::Break(()),
            News::Broadcast {
                topic,
                event,
                payload,
                private,
            } => {
                for channel in self
                    .channels
                    .iter()
                    .filter(|channel| channel.name() == topic && channel.private == private)
                {
                    let body = json!({"type": "broadcast", "event": event, "payload": payload});
                    frames.push(channel.message("broadcast", body));
                }
            }
            News::Change(change) => {
                for channel in &self.channels {
                    frames.extend(channel.change(&self.realtime.pool, &change).await);
                }
            }
        }
        for frame in frames {
            self.send(frame).await?;
        }
        ControlFlow::Continue(())
    }

    /// Ends channels whose token has expired, and begins those whose time has come.
    async fn tick(&mut self) -> ControlFlow<()> {
        let (now, instant) = (self.gateway.auth.now(), Instant::now());
        let mut frames = Vec::new();
        for channel in &mut self.channels {
            if channel.begins.is_some_and(|begins| begins <= instant) {
                channel.begins = None;
                frames.push(channel.system("postgres_changes", "ok", "Subscribed to PostgreSQL"));
            }
        }
        let expired = |channel: &Channel| {
            channel.claims["exp"]
                .as_i64()
                .is_some_and(|expires| expires <= now)
        };
        let ended: Vec<Channel> = self
            .channels
            .iter()
            .filter(|channel| expired(channel))
            .cloned()
            .collect();
        for channel in ended {
            let ago = now - channel.claims["exp"].as_i64().unwrap_or(now);
            frames.push(channel.system("system", "error", &format!("Token has expired {ago} seconds ago")));
            frames.push(channel.message("phx_close", json!({})));
            self.leave(&channel.topic);
        }
        for frame in frames {
            self.send(frame).await?;
        }
        ControlFlow::Continue(())
    }
}

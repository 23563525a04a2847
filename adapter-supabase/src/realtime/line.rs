//! One connection: joining, heartbeats, tokens, news.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt,
    future::{Either, select},
    pin_mut, stream,
    stream::BoxStream,
};
use serde_json::{Value, json};
use sync_core::{ErrorKind, Poke, Result, SyncError};
use sync_http::{
    Credentials, PokeSource, TransportError, WebSocket, WebSocketMessage, WebSocketRequest, with_credentials,
    within,
};

use super::{
    Realtime,
    channel::{Channel, News},
    frame::Frame,
    refusal::refused_join,
};

/// The reference of the join; those of later messages follow it.
const JOIN: u64 = 1;

/// Makes connections that have joined a channel.
#[derive(Debug)]
pub(super) struct Line(Arc<Ends>);

/// What every connection of a line has in common.
#[derive(Debug)]
struct Ends {
    realtime: Realtime,
    channel: Channel,
}

impl Line {
    pub(super) fn new(realtime: Realtime, channel: Channel) -> Self {
        Self(Arc::new(Ends { realtime, channel }))
    }
}

#[async_trait]
impl PokeSource for Line {
    async fn connect(&self) -> Result<BoxStream<'static, Poke>> {
        let tokens = &self.0.realtime.tokens;
        let joined = with_credentials(&**tokens, |credentials| join(&self.0, credentials)).await?;
        Ok(stream::unfold(joined, |mut joined| async move {
            let poke = joined.next().await?;
            Some((poke, joined))
        })
        .boxed())
    }
}

/// Connects and joins. Ends with the answer to the join.
async fn join(ends: &Arc<Ends>, credentials: Option<Credentials>) -> Result<Joined> {
    let realtime = &ends.realtime;
    let mut url = realtime
        .project
        .to_websocket()
        .join(["realtime", "v1", "websocket"]);
    url.query_pairs_mut()
        .append_pair("apikey", realtime.key.reveal())
        .append_pair("vsn", realtime.options.protocol.as_str());
    let socket = realtime.sockets.connect(WebSocketRequest::new(url)).await?;
    let mut joined = Joined {
        ends: Arc::clone(ends),
        socket,
        last_reference: JOIN,
        unanswered_heartbeat: None,
        next_heartbeat: realtime.effects.clock.monotonic() + realtime.options.heartbeat,
        credentials,
    };
    let (timer, deadline) = (&*realtime.effects.timer, realtime.options.join_deadline);
    let answered = within(timer, deadline, joined.join());
    answered.await.unwrap_or_else(|| {
        Err(
            SyncError::new(ErrorKind::Timeout, "the realtime server did not answer a join")
                .with_operation("subscribe"),
        )
    })?;
    Ok(joined)
}

/// A connection that has joined its channel.
struct Joined {
    ends: Arc<Ends>,
    socket: Box<dyn WebSocket>,
    last_reference: u64,
    unanswered_heartbeat: Option<String>,
    /// When the next heartbeat is due, in monotonic time.
    next_heartbeat: Duration,
    /// What the server was told last.
    credentials: Option<Credentials>,
}

/// What ended a wait.
enum Wake {
    Message(WebSocketMessage),
    Heartbeat,
    Lost,
}

impl Joined {
    async fn join(&mut self) -> Result<()> {
        let payload = self.ends.channel.join(self.credentials.as_ref());
        self.send_to_channel(JOIN.to_string(), "phx_join", payload)
            .await?;
        loop {
            let Some(message) = self.socket.receive().await? else {
                let why = "the realtime server closed the connection";
                return Err(SyncError::new(ErrorKind::Unreachable, why).with_operation("subscribe"));
            };
            let Some(frame) = self.ends.realtime.options.protocol.read(&message) else {
                continue;
            };
            let is_answer = frame.event == "phx_reply" && frame.reference.as_deref() == Some("1");
            if is_answer && frame.payload["status"] == "ok" {
                return Ok(());
            }
            if is_answer {
                return Err(refused_join(&frame.payload["response"]));
            }
        }
    }

    /// The next poke; `None` when the connection is of no use any more.
    async fn next(&mut self) -> Option<Poke> {
        loop {
            match self.wake().await {
                Wake::Lost => return None,
                Wake::Heartbeat => self.beat().await?,
                Wake::Message(message) => {
                    let Some(frame) = self.ends.realtime.options.protocol.read(&message) else {
                        // What cannot be read may be news.
                        return Some(Poke::Changed(None));
                    };
                    if frame.event == "phx_reply" && frame.reference == self.unanswered_heartbeat {
                        self.unanswered_heartbeat = None;
                    }
                    match self.ends.channel.news(&frame) {
                        News::Poke(poke) => return Some(poke),
                        News::Ended => return None,
                        News::Nothing => {}
                    }
                }
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let effects = &self.ends.realtime.effects;
        let wait = self.next_heartbeat.saturating_sub(effects.clock.monotonic());
        let (message, heartbeat) = (self.socket.receive(), effects.timer.sleep(wait));
        pin_mut!(message, heartbeat);
        match select(message, heartbeat).await {
            Either::Left((Ok(Some(message)), _)) => Wake::Message(message),
            Either::Left((Ok(None) | Err(_), _)) => Wake::Lost,
            Either::Right(_) => Wake::Heartbeat,
        }
    }

    /// Sends a heartbeat, and the token if it is another one by now. `None` if the connection is lost.
    async fn beat(&mut self) -> Option<()> {
        if self.unanswered_heartbeat.is_some() {
            tracing::debug!("the realtime server did not answer a heartbeat");
            return None;
        }
        let realtime = &self.ends.realtime;
        self.next_heartbeat = realtime.effects.clock.monotonic() + realtime.options.heartbeat;
        // A failure to renew is not the end: the server ends the channel when the token it knows expires.
        let current = realtime.tokens.credentials().await.ok().flatten();
        if let Some(current) = current
            && self.credentials.as_ref().map(|known| &known.access) != Some(&current.access)
        {
            let payload = json!({"access_token": current.access.reveal()});
            let reference = self.next_reference();
            self.send_to_channel(reference, "access_token", payload)
                .await
                .ok()?;
            self.credentials = Some(current);
        }
        let reference = self.next_reference();
        let heartbeat = Frame {
            join_ref: None,
            reference: Some(reference.clone()),
            topic: "phoenix".to_owned(),
            event: "heartbeat".to_owned(),
            payload: json!({}),
        };
        self.send(&heartbeat).await.ok()?;
        self.unanswered_heartbeat = Some(reference);
        Some(())
    }

    fn next_reference(&mut self) -> String {
        self.last_reference += 1;
        self.last_reference.to_string()
    }

    async fn send_to_channel(
        &mut self,
        reference: String,
        event: &str,
        payload: Value,
    ) -> Result<(), TransportError> {
        let frame = Frame {
            join_ref: Some(JOIN.to_string()),
            reference: Some(reference),
            topic: self.ends.channel.topic.clone(),
            event: event.to_owned(),
            payload,
        };
        self.send(&frame).await
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), TransportError> {
        let message = self.ends.realtime.options.protocol.write(frame);
        self.socket.send(message).await
    }
}

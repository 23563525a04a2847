//! Realtime: a websocket that tells which table changed. What changed is pulled.
//!
//! Events are sent at most once, without numbers and without replay; some writes send none, and some carry an old
//! `$updatedAt`. So nothing of an event is used but its channel.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use http::{HeaderValue, header::COOKIE};
use serde::Deserialize;
use sync_core::{CollectionName, ErrorKind, Poke, Result, SyncError, SyncScope};
use sync_http::{
    Backoff, Credentials, PokeSource, WebSocket, WebSocketMessage, WebSocketRequest, reconnecting,
    with_credentials,
};

use crate::{auth::CredentialKind, remote::AppwriteRemoteStore, table::Table};

/// How many frames may come before the one that says the connection stands.
const FRAMES_BEFORE_CONNECTED: u32 = 16;

/// Subscribes to the tables of a scope, and again whenever the connection ends.
pub(crate) async fn listen(
    remote: &AppwriteRemoteStore,
    scope: &SyncScope,
) -> Result<BoxStream<'static, Poke>> {
    let channels: BTreeMap<String, CollectionName> = remote
        .config()
        .tables_of(scope)
        .map(|(collection, table)| (channel(table), collection.clone()))
        .collect();
    if channels.is_empty() {
        let why = format!("the scopes `{}` have no tables", scope.name());
        return Err(SyncError::new(ErrorKind::Configuration, why).with_field("table"));
    }
    let effects = remote.config().effects.clone();
    let source = Arc::new(Line {
        remote: remote.clone(),
        channels: Arc::new(channels),
    });
    reconnecting(source, effects, Backoff::default()).await
}

fn channel(table: &Table) -> String {
    format!("databases.{}.tables.{}.rows", table.database, table.table)
}

#[derive(Debug)]
struct Line {
    remote: AppwriteRemoteStore,
    channels: Arc<BTreeMap<String, CollectionName>>,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: FrameData,
}

#[derive(Default, Deserialize)]
struct FrameData {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    user: Option<serde_json::Value>,
}

#[async_trait]
impl PokeSource for Line {
    async fn connect(&self) -> Result<BoxStream<'static, Poke>> {
        let source = &self.remote.client().credential().source;
        let socket = with_credentials(&**source, |credentials| self.open(credentials)).await?;
        let listening = (socket, Arc::clone(&self.channels));
        Ok(stream::unfold(listening, |(mut socket, channels)| async move {
            let poke = next_poke(&mut *socket, &channels).await?;
            Some((poke, (socket, channels)))
        })
        .boxed())
    }
}

impl Line {
    async fn open(&self, credentials: Option<Credentials>) -> Result<Box<dyn WebSocket>> {
        let config = self.remote.config();
        let kind = config.credential.kind;
        let mut url = config.endpoint.to_websocket().join(["realtime"]);
        url.query_pairs_mut()
            .append_pair("project", &config.project)
            .extend_pairs(self.channels.keys().map(|channel| ("channels[]", channel)));
        let token = credentials
            .as_ref()
            .map(|credentials| credentials.access.reveal());
        if let Some(token) = token.filter(|_| kind == CredentialKind::Jwt) {
            url.query_pairs_mut().append_pair("jwt", token);
        }
        let mut request = WebSocketRequest::new(url);
        request.deadline = config.options.request_deadline;
        if let Some(token) = token.filter(|_| kind == CredentialKind::Session) {
            let cookie = format!("a_session_{}={token}", config.project);
            let mut value = HeaderValue::from_str(&cookie)
                .map_err(|_| SyncError::invalid("session", "cannot stand in a cookie"))?;
            value.set_sensitive(true);
            request.headers.insert(COOKIE, value);
        }
        let mut socket = self.remote.sockets().connect(request).await?;
        for _ in 0..FRAMES_BEFORE_CONNECTED {
            let Some(message) = socket.receive().await? else {
                return Err(SyncError::new(
                    ErrorKind::Unreachable,
                    "the server closed the realtime connection",
                ));
            };
            match read(&message) {
                Some(frame) if frame.kind == "connected" => {
                    // A refused session is taken for a guest, who would hear nothing.
                    if kind.is_user() && frame.data.user.is_none() {
                        return Err(SyncError::new(
                            ErrorKind::Unauthenticated,
                            "the realtime connection was taken for a guest's",
                        ));
                    }
                    return Ok(socket);
                }
                Some(frame) if frame.kind == "error" => return Err(refused(&frame.data)),
                _ => {}
            }
        }
        Err(SyncError::new(
            ErrorKind::Malformed,
            "the realtime connection was not confirmed",
        ))
    }
}

/// The next news; `None` when the connection is of no use any more.
async fn next_poke(socket: &mut dyn WebSocket, channels: &BTreeMap<String, CollectionName>) -> Option<Poke> {
    loop {
        let message = socket.receive().await.ok().flatten()?;
        // A frame that cannot be read may be news.
        let Some(frame) = read(&message) else {
            return Some(Poke::Changed(None));
        };
        match frame.kind.as_str() {
            "event" => {
                let collection = frame
                    .data
                    .channels
                    .iter()
                    .find_map(|channel| channels.get(channel));
                return Some(Poke::Changed(collection.cloned()));
            }
            "error" => return None,
            _ => {}
        }
    }
}

fn read(message: &WebSocketMessage) -> Option<Frame> {
    match message {
        WebSocketMessage::Text(text) => serde_json::from_str(text).ok(),
        WebSocketMessage::Binary(bytes) => serde_json::from_slice(bytes).ok(),
    }
}

fn refused(data: &FrameData) -> SyncError {
    /// A breach of the server's policy: an unknown project, or an origin that is not allowed.
    const POLICY: i64 = 1_008;
    let kind = if data.code == POLICY {
        ErrorKind::Configuration
    } else {
        ErrorKind::Server
    };
    SyncError::new(kind, data.message.clone()).with_code(data.code.to_string())
}

//! Websockets over TCP and TLS.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;
use sync_core::{Clock, Effects, ErrorKind, Result, SyncError, Timer};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        error::{CapacityError, ProtocolError},
        protocol::WebSocketConfig,
    },
};

use super::{WebSocket, WebSocketConnector, WebSocketMessage, WebSocketRequest};
use crate::{
    timing::within,
    transport_error::{TransportError, TransportErrorKind},
};

/// How websockets are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketOptions {
    /// After this long without a frame from the other side it is sent a ping, and after as long again without an
    /// answer the connection is taken for dead.
    pub ping_after: Duration,
    /// The largest message accepted, in bytes.
    pub message_limit: usize,
    /// How long sending one message may take.
    pub send_deadline: Duration,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self {
            ping_after: Duration::from_secs(30),
            message_limit: 8 << 20,
            send_deadline: Duration::from_secs(10),
        }
    }
}

/// Opens websockets over TCP, and over TLS for `wss`.
///
/// The TLS provider is named explicitly: with two of them compiled into an app, leaving the choice to the process
/// default panics at the first `wss` connection. Certificates are checked as the platform does.
#[derive(Clone)]
pub struct TlsWebSocketConnector {
    tls: Arc<ClientConfig>,
    effects: Effects,
    options: WebSocketOptions,
}

impl TlsWebSocketConnector {
    /// A connector that trusts what the platform trusts.
    ///
    /// # Errors
    /// `Configuration` if the platform's certificates cannot be used.
    pub fn new(effects: Effects, options: WebSocketOptions) -> Result<Self> {
        Self::with_extra_roots(effects, options, [])
    }

    /// A connector that also trusts these certificate authorities, given as DER.
    ///
    /// # Errors
    /// As [`TlsWebSocketConnector::new`]; also if a certificate cannot be read.
    pub fn with_extra_roots(
        effects: Effects,
        options: WebSocketOptions,
        roots: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots: Vec<_> = roots.into_iter().map(CertificateDer::from).collect();
        let verifier = if roots.is_empty() {
            Verifier::new(Arc::clone(&provider))
        } else {
            Verifier::new_with_extra_roots(roots, Arc::clone(&provider))
        };
        let verifier = verifier.map_err(unusable_tls)?;
        // The platform's verifier is a custom one in the words of rustls, not a weaker one.
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable_tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            effects,
            options,
        })
    }
}

fn unusable_tls(error: rustls::Error) -> SyncError {
    SyncError::new(ErrorKind::Configuration, "TLS cannot be set up")
        .with_field("tls")
        .with_source(error)
}

impl fmt::Debug for TlsWebSocketConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsWebSocketConnector")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl WebSocketConnector for TlsWebSocketConnector {
    async fn connect(&self, request: WebSocketRequest) -> Result<Box<dyn WebSocket>, TransportError> {
        let mut handshake = request
            .url
            .as_str()
            .into_client_request()
            .map_err(|error| failure(error, Phase::Connect))?;
        handshake.headers_mut().extend(request.headers.clone());
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(self.options.message_limit);
        config.max_frame_size = Some(self.options.message_limit);
        let connector = Connector::Rustls(Arc::clone(&self.tls));
        let connecting = connect_async_tls_with_config(handshake, Some(config), true, Some(connector));
        let (stream, _) = within(&*self.effects.timer, request.deadline, connecting)
            .await
            .ok_or_else(|| timeout("the websocket was not open within the deadline"))?
            .map_err(|error| failure(error, Phase::Connect))?;
        Ok(Box::new(TlsWebSocket {
            stream,
            heard_at: self.effects.clock.monotonic(),
            pinged: false,
            clock: Arc::clone(&self.effects.clock),
            timer: Arc::clone(&self.effects.timer),
            options: self.options,
        }))
    }
}

struct TlsWebSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// When the last frame came.
    heard_at: Duration,
    /// A ping was sent since.
    pinged: bool,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    options: WebSocketOptions,
}

impl TlsWebSocket {
    async fn send_raw(&mut self, message: Message) -> Result<(), TransportError> {
        within(
            &*self.timer,
            self.options.send_deadline,
            self.stream.send(message),
        )
        .await
        .ok_or_else(|| timeout("the websocket took no message within the deadline"))?
        .map_err(|error| failure(error, Phase::Open))
    }

    /// How long silence may last from now on.
    fn patience(&self) -> Duration {
        let pings = if self.pinged { 2 } else { 1 };
        let until = self.heard_at + self.options.ping_after * pings;
        until.saturating_sub(self.clock.monotonic())
    }
}

#[async_trait]
impl WebSocket for TlsWebSocket {
    async fn send(&mut self, message: WebSocketMessage) -> Result<(), TransportError> {
        self.send_raw(match message {
            WebSocketMessage::Text(text) => Message::text(text),
            WebSocketMessage::Binary(bytes) => Message::Binary(bytes),
        })
        .await
    }

    async fn receive(&mut self) -> Result<Option<WebSocketMessage>, TransportError> {
        loop {
            let patience = self.patience();
            match within(&*self.timer, patience, self.stream.next()).await {
                None if self.pinged => return Err(timeout("the websocket answers no ping")),
                None => {
                    self.pinged = true;
                    self.send_raw(Message::Ping(bytes::Bytes::new())).await?;
                    continue;
                }
                Some(None) => return Ok(None),
                Some(Some(Err(tungstenite::Error::ConnectionClosed))) => return Ok(None),
                Some(Some(Err(error))) => return Err(failure(error, Phase::Open)),
                Some(Some(Ok(message))) => {
                    self.heard_at = self.clock.monotonic();
                    self.pinged = false;
                    match message {
                        Message::Text(text) => {
                            return Ok(Some(WebSocketMessage::Text(text.as_str().to_owned())));
                        }
                        Message::Binary(bytes) => return Ok(Some(WebSocketMessage::Binary(bytes))),
                        Message::Close(_) => return Ok(None),
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    }
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        self.send_raw(Message::Close(None)).await
    }
}

impl fmt::Debug for TlsWebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsWebSocket")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connect,
    Open,
}

fn timeout(message: &str) -> TransportError {
    TransportError::new(TransportErrorKind::Timeout, message)
}

fn failure(error: tungstenite::Error, phase: Phase) -> TransportError {
    use TransportErrorKind::{AnswerTooLarge, Connect, Interrupted, InvalidAnswer, InvalidRequest};
    // Errors of the library tell the URL, so that only their kind and safe parts go on.
    let (kind, message) = match &error {
        tungstenite::Error::Http(answer) => {
            let message = format!("the server refused the websocket with {}", answer.status());
            return TransportError::new(InvalidAnswer, message);
        }
        tungstenite::Error::Io(error) => {
            let message = format!("the websocket connection failed: {}", error.kind());
            let kind = if phase == Phase::Connect {
                Connect
            } else {
                Interrupted
            };
            (kind, message)
        }
        tungstenite::Error::Tls(_) => (Connect, "TLS for the websocket failed".to_owned()),
        tungstenite::Error::Url(_) | tungstenite::Error::HttpFormat(_) => {
            (InvalidRequest, "the websocket request is not valid".to_owned())
        }
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => (
            AnswerTooLarge,
            "a websocket message is larger than this client accepts".to_owned(),
        ),
        tungstenite::Error::AlreadyClosed
        | tungstenite::Error::ConnectionClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            (Interrupted, "the websocket connection was cut".to_owned())
        }
        _ => (
            InvalidAnswer,
            "the server broke the websocket protocol".to_owned(),
        ),
    };
    TransportError::new(kind, message)
}

//! Websockets.

#[cfg(feature = "websocket")]
mod tls;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use url::Url;

use crate::{
    redact::{RedactedHeaders, RedactedUrl},
    transport::DEFAULT_DEADLINE,
    transport_error::TransportError,
};

#[cfg(feature = "websocket")]
pub use tls::{TlsWebSocketConnector, WebSocketOptions};

/// What is needed to open a websocket. `Debug` hides secrets.
#[derive(Clone)]
pub struct WebSocketRequest {
    /// A `ws` or `wss` URL.
    pub url: Url,
    /// Headers besides those of the handshake.
    pub headers: HeaderMap,
    /// How long connecting and the handshake may take.
    pub deadline: Duration,
}

impl WebSocketRequest {
    /// A request without headers, with [`DEFAULT_DEADLINE`].
    pub fn new(url: Url) -> Self {
        Self {
            url,
            headers: HeaderMap::new(),
            deadline: DEFAULT_DEADLINE,
        }
    }
}

impl fmt::Debug for WebSocketRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketRequest")
            .field("url", &RedactedUrl(&self.url))
            .field("headers", &RedactedHeaders(&self.headers))
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// A message of a websocket. `Debug` shows only how long it is: messages may carry tokens.
#[derive(Clone, PartialEq, Eq)]
pub enum WebSocketMessage {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl fmt::Debug for WebSocketMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// Opens websockets.
#[async_trait]
pub trait WebSocketConnector: fmt::Debug + Send + Sync + 'static {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// `Connect` if there is no connection, `Timeout` after the deadline, `InvalidAnswer` if the server refuses
    /// the handshake; the message then tells the status.
    async fn connect(&self, request: WebSocketRequest) -> Result<Box<dyn WebSocket>, TransportError>;
}

/// An open websocket. Dropping it closes the connection without a farewell.
#[async_trait]
pub trait WebSocket: fmt::Debug + Send + 'static {
    /// Sends a message.
    ///
    /// # Errors
    /// `Interrupted` if the connection is lost, `Timeout` if the other side takes nothing any more.
    async fn send(&mut self, message: WebSocketMessage) -> Result<(), TransportError>;

    /// The next message; `None` once the other side has said goodbye. Pings are answered meanwhile.
    ///
    /// # Errors
    /// `Interrupted` if the connection ends without a farewell; `Timeout` if the other side answers no ping;
    /// `AnswerTooLarge` for a message above the limit; `InvalidAnswer` for a breach of the protocol. The socket is
    /// of no use afterwards.
    ///
    /// # Cancel safety
    /// A dropped call loses no message.
    async fn receive(&mut self) -> Result<Option<WebSocketMessage>, TransportError>;

    /// Says goodbye. What is still on its way may be lost.
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    async fn close(&mut self) -> Result<(), TransportError>;
}

#[cfg(test)]
fn _object_safe(_: &dyn WebSocketConnector, _: &dyn WebSocket) {}

//! Websockets played by the test.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, channel::mpsc};

use crate::{
    transport_error::{TransportError, TransportErrorKind},
    websocket::{WebSocket, WebSocketConnector, WebSocketMessage, WebSocketRequest},
};

/// A [`WebSocketConnector`] whose other side is the test.
///
/// [`ScriptedSockets::expect`] prepares the next connection and gives the test its end of it. A connection
/// nobody prepared fails as `Connect`.
#[derive(Clone, Debug, Default)]
pub struct ScriptedSockets {
    prepared: Arc<Mutex<VecDeque<Result<ScriptedSocket, TransportErrorKind>>>>,
    requests: Arc<Mutex<Vec<WebSocketRequest>>>,
}

/// The test's end of a websocket. Dropping it cuts the connection without a farewell.
#[derive(Debug)]
pub struct SocketPeer {
    /// What the client sends, in order; ends when the client closes or drops its socket.
    pub received: mpsc::UnboundedReceiver<WebSocketMessage>,
    outgoing: mpsc::UnboundedSender<Option<WebSocketMessage>>,
}

impl SocketPeer {
    /// Sends a text to the client. What a client that is gone does not hear is dropped.
    pub fn send_text(&self, text: impl Into<String>) {
        let _ = self
            .outgoing
            .unbounded_send(Some(WebSocketMessage::Text(text.into())));
    }

    /// Sends bytes to the client, likewise.
    pub fn send_binary(&self, bytes: impl Into<Bytes>) {
        let _ = self
            .outgoing
            .unbounded_send(Some(WebSocketMessage::Binary(bytes.into())));
    }

    /// Says goodbye to the client.
    pub fn close(&self) {
        let _ = self.outgoing.unbounded_send(None);
    }

    /// The next text of the client; `None` when it is gone.
    pub async fn next_text(&mut self) -> Option<String> {
        loop {
            if let WebSocketMessage::Text(text) = self.received.next().await? {
                return Some(text);
            }
        }
    }
}

impl ScriptedSockets {
    /// Sockets without a script.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next connection succeed, and gives the other end of it.
    pub fn expect(&self) -> SocketPeer {
        let (to_peer, received) = mpsc::unbounded();
        let (outgoing, from_peer) = mpsc::unbounded();
        let socket = ScriptedSocket { to_peer, from_peer };
        lock(&self.prepared).push_back(Ok(socket));
        SocketPeer { received, outgoing }
    }

    /// Lets the next connection fail.
    pub fn refuse(&self, kind: TransportErrorKind) {
        lock(&self.prepared).push_back(Err(kind));
    }

    /// Every attempt to connect so far.
    pub fn requests(&self) -> Vec<WebSocketRequest> {
        lock(&self.requests).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl WebSocketConnector for ScriptedSockets {
    async fn connect(&self, request: WebSocketRequest) -> Result<Box<dyn WebSocket>, TransportError> {
        lock(&self.requests).push(request);
        match lock(&self.prepared).pop_front() {
            Some(Ok(socket)) => Ok(Box::new(socket)),
            Some(Err(kind)) => Err(TransportError::new(kind, "by script")),
            None => Err(TransportError::new(
                TransportErrorKind::Connect,
                "no connection was prepared",
            )),
        }
    }
}

struct ScriptedSocket {
    to_peer: mpsc::UnboundedSender<WebSocketMessage>,
    from_peer: mpsc::UnboundedReceiver<Option<WebSocketMessage>>,
}

#[async_trait]
impl WebSocket for ScriptedSocket {
    async fn send(&mut self, message: WebSocketMessage) -> Result<(), TransportError> {
        self.to_peer.unbounded_send(message).map_err(|_| cut())
    }

    async fn receive(&mut self) -> Result<Option<WebSocketMessage>, TransportError> {
        self.from_peer.next().await.ok_or_else(cut)
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        self.to_peer.close_channel();
        Ok(())
    }
}

impl fmt::Debug for ScriptedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptedSocket")
    }
}

fn cut() -> TransportError {
    TransportError::new(TransportErrorKind::Interrupted, "the other end is gone")
}

//! Realtime connections over real websockets.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::exchange::Request;
use crate::http::HttpResponse;
use crate::realtime::{ConnectionId, Frame, realtime_request};
use crate::stand_in::Shared;

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Answers the handshake and serves the connection in a task of its own.
pub(crate) fn accept(mut request: hyper::Request<Incoming>, shared: Arc<Shared>) -> io::Result<HttpResponse> {
    let mut asked: Request = realtime_request(request.uri().query().unwrap_or_default());
    for (name, value) in request.headers() {
        asked.headers.insert(
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        );
    }
    let key = request.headers().get(SEC_WEBSOCKET_KEY);
    let accepted = key.map(|key| derive_accept_key(key.as_bytes()));
    let builder = hyper::Response::builder();
    let response = match accepted {
        Some(accepted) => {
            let upgrade = hyper::upgrade::on(&mut request);
            shared.log(&asked, Some(101));
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    let socket =
                        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                    serve(socket, &asked, &shared).await;
                }
            });
            builder
                .status(101)
                .header(UPGRADE, "websocket")
                .header(CONNECTION, "Upgrade")
                .header(SEC_WEBSOCKET_ACCEPT, accepted)
        }
        None => builder.status(426),
    };
    response
        .body(Full::new(Bytes::new()).map_err(|never| match never {}).boxed())
        .map_err(io::Error::other)
}

async fn serve(mut socket: Socket, asked: &Request, shared: &Shared) {
    let mut changes = shared.changes();
    let id = shared.with(|inner| inner.machine.connect(asked));
    while send_waiting(&mut socket, id, shared).await {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => shared.with(|inner| inner.machine.receive(id, &text)),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            changed = changes.changed() => {
                if changed.is_err() {
                    break;
                }
            }
        }
    }
    shared.with(|inner| inner.machine.disconnect(id));
}

/// Sends what waits for the listener; tells whether the connection goes on.
async fn send_waiting(socket: &mut Socket, id: ConnectionId, shared: &Shared) -> bool {
    for frame in shared.peek(|inner| inner.machine.take_frames(id)) {
        match frame {
            Frame::Message(message) => {
                if socket.send(Message::text(message.to_string())).await.is_err() {
                    return false;
                }
            }
            Frame::Close { with_frame } => {
                if with_frame {
                    let _ = socket.close(None).await;
                }
                return false;
            }
        }
    }
    true
}

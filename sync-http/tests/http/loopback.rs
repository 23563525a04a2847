//! A server that says exactly the given bytes.

use std::{net::SocketAddr, sync::Arc};

use sync_core::{Timer, TokioTimer};
use sync_http::{HttpRequest, Method, Url};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

/// What the server does with the n-th connection.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Reads a request head, says this and closes.
    Bytes(Vec<u8>),
    /// Reads a request head, says this, and leaves the connection open.
    AndHold(Vec<u8>),
}

pub(crate) struct Loopback {
    pub(crate) address: SocketAddr,
    pub(crate) heads: mpsc::UnboundedReceiver<String>,
}

impl Loopback {
    /// A server that meets each connection with the next of `script`, and closes those after it.
    pub(crate) async fn start(script: Vec<Say>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heads) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut held = Vec::new();
            for say in script {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    if connection.read_buf(&mut head).await.unwrap() == 0 {
                        break;
                    }
                }
                let _ = tell.send(String::from_utf8_lossy(&head).into_owned());
                match say {
                    Say::Bytes(bytes) => {
                        connection.write_all(&bytes).await.unwrap();
                        connection.shutdown().await.unwrap();
                    }
                    Say::AndHold(bytes) => {
                        connection.write_all(&bytes).await.unwrap();
                        held.push(connection);
                    }
                }
            }
            std::future::pending::<()>().await;
        });
        Self { address, heads }
    }

    pub(crate) fn get(&self, path: &str) -> HttpRequest {
        get(self.address, path)
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> HttpRequest {
    HttpRequest::new(
        Method::GET,
        Url::parse(&format!("http://{address}{path}")).unwrap(),
    )
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

pub(crate) fn real_timer() -> Arc<dyn Timer> {
    Arc::new(TokioTimer)
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    listener.local_addr().unwrap()
}

//! The gateway: one address for everything a project offers.

mod data;
mod keys;
mod mends;
mod sign_in;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use http_body_util::BodyExt;
use hyper::{Method, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    auth::Auth,
    deviations::Deviation,
    faults::{Fault, Faults},
    http::{Answer, Request, Response},
    realtime::Realtime,
    record::{Recorded, Requests},
};

pub(crate) use keys::{PUBLISHABLE_KEY, SECRET_KEY};

/// What every request of a stack has to do with.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) auth: Auth,
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
    pub(crate) realtime: Arc<Realtime>,
    pub(crate) unmended: std::sync::Mutex<Vec<Deviation>>,
    upstream: reqwest::Client,
    upstream_port: AtomicU16,
}

impl Gateway {
    pub(crate) fn new(realtime: Arc<Realtime>, upstream_port: u16) -> Self {
        Self {
            auth: Auth::new(),
            faults: Faults::default(),
            requests: Requests::default(),
            realtime,
            unmended: std::sync::Mutex::default(),
            upstream: reqwest::Client::new(),
            upstream_port: AtomicU16::new(upstream_port),
        }
    }

    pub(crate) fn set_upstream_port(&self, port: u16) {
        self.upstream_port.store(port, Ordering::SeqCst);
    }

    fn upstream_port(&self) -> u16 {
        self.upstream_port.load(Ordering::SeqCst)
    }

    /// Accepts connections until the task is aborted; they end with it.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            let gateway = self.clone();
            connections.spawn(async move {
                let service = service_fn(|request| gateway.clone().answer(request));
                let builder = hyper::server::conn::http1::Builder::new();
                let connection = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                // A connection that breaks off is the client's affair, or was asked for.
                let _ = connection.await;
            });
        }
    }

    /// An error ends the connection without an answer.
    async fn answer(self: Arc<Self>, request: hyper::Request<Incoming>) -> io::Result<Response> {
        if request.uri().path() == "/realtime/v1/websocket" {
            return self.realtime.clone().accept(request, &self);
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let request = Request {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
        };
        let path = request.uri.to_string();
        self.requests.add(Recorded {
            method: request.method.to_string(),
            path: path.clone(),
            apikey: request.header("apikey").map(str::to_owned),
            authorization: request.header("authorization").map(str::to_owned),
            prefer: request.header("prefer").map(str::to_owned),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        });
        let dropped = || io::Error::other("the connection is dropped");
        match self.faults.take(&path) {
            None => Ok(self.route(request).await.into_response()),
            Some(Fault::DropBefore) => Err(dropped()),
            Some(Fault::DropAfter) => {
                self.route(request).await;
                Err(dropped())
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(self.route(request).await.into_response())
            }
            Some(Fault::Status { status, retry_after }) => {
                let page = format!("<html><body><h1>{status}</h1></body></html>");
                let answer = Answer::new(status, hyper::header::HeaderValue::from_static("text/html"), page);
                let answer = match retry_after {
                    Some(seconds) => answer.with("retry-after", seconds.to_string()),
                    None => answer,
                };
                Ok(answer.into_response())
            }
            Some(Fault::Answer { status, body }) => {
                Ok(Answer::new(status, crate::http::JSON, body).into_response())
            }
            Some(Fault::TruncateBody) => Ok(self.route(request).await.into_truncated_response()),
            Some(Fault::Twice) => {
                self.route(request.clone()).await;
                Ok(self.route(request).await.into_response())
            }
        }
    }

    async fn route(&self, request: Request) -> Answer {
        let path = request.uri.path().to_owned();
        if request.method == Method::OPTIONS {
            return with_cors(Answer::json(200, &json!({})));
        }
        let role = match keys::role_of_key(&request) {
            Ok(role) => role,
            Err(refused) => return *refused,
        };
        with_cors(if let Some(rest) = path.strip_prefix("/rest/v1") {
            let rest = rest.to_owned();
            self.data(request, &rest, role).await
        } else if let Some(rest) = path.strip_prefix("/auth/v1") {
            self.sign_in(&request, rest)
        } else {
            Answer::json(404, &json!({"message": "no Route matched with those values"}))
        })
    }
}

fn with_cors(answer: Answer) -> Answer {
    answer
        .with("access-control-allow-origin", "*")
        .with("access-control-allow-headers", "*")
        .with("access-control-allow-methods", "*")
        .with("access-control-expose-headers", "*")
}

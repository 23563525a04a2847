//! The state machine on a loopback port.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::error::ApiError;
use crate::exchange::{Body, Request, Response};
use crate::fault::Fault;
use crate::rate::limit_exceeded;
use crate::stand_in::Shared;
use crate::websocket;

pub(crate) type HttpBody = BoxBody<Bytes, io::Error>;
pub(crate) type HttpResponse = hyper::Response<HttpBody>;

/// Takes connections until the task is ended.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_connection(stream, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // An error here is a fault that was asked for, or a client that went away.
    let _ = connection.with_upgrades().await;
}

async fn answer(request: hyper::Request<Incoming>, shared: Arc<Shared>) -> io::Result<HttpResponse> {
    if request.uri().path() == "/v1/realtime" {
        return websocket::accept(request, shared);
    }
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut asked = Request::new(head.method.as_str(), target);
    for (name, value) in &head.headers {
        asked.headers.insert(
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        );
    }
    asked.body = body
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes()
        .to_vec();
    let (fault, hold, skew) = shared.with(|inner| {
        (
            inner.faults.take(&asked),
            inner.faults.take_hold(&asked),
            inner.faults.next_skew(),
        )
    });
    let instead = fault.as_ref().and_then(|fault| answer_of_fault(&shared, fault));
    if fault.as_ref().is_some_and(Fault::prevents_effect) {
        shared.log(&asked, instead.as_ref().map(|response| response.status));
        let refusal = instead.ok_or_else(|| io::Error::other("the request is dropped"))?;
        return to_http(refusal, None);
    }
    let arrival = shared.with(|inner| {
        if hold.is_some() {
            inner.machine.arrive_early(&asked, skew)
        } else {
            inner.machine.arrive(skew)
        }
    });
    if let Some(hold) = hold {
        let _ = hold.arrived.send(());
        let _ = hold.released.await;
    }
    let response = shared.with(|inner| inner.machine.handle(&asked, &arrival));
    #[cfg(feature = "contract")]
    let response = shared.check_contract(&asked, response);
    let response = instead.unwrap_or(response);
    if fault == Some(Fault::DropAnswer) {
        shared.log(&asked, None);
        return Err(io::Error::other("the answer is dropped"));
    }
    shared.log(&asked, Some(response.status));
    to_http(response, fault)
}

/// The answer that a fault puts in the place of the server's own.
fn answer_of_fault(shared: &Shared, fault: &Fault) -> Option<Response> {
    let refuse = |error: &ApiError| shared.peek(|inner| inner.machine.refuse(error));
    let mut response = match fault {
        Fault::Refuse { status, kind } | Fault::FailAfter { status, kind } => {
            refuse(&ApiError::new(*status, kind, "A fault that was asked for."))
        }
        Fault::RateLimit { .. } => refuse(&limit_exceeded()),
        Fault::Page { status } => {
            Response::html(*status, "<!DOCTYPE html><html><body>Bad gateway</body></html>")
        }
        Fault::DropRequest | Fault::DropAnswer | Fault::SlowBody(_) | Fault::CutBody => return None,
    };
    let now = shared.now();
    response.headers.insert("date".into(), now.to_http_date());
    response
        .headers
        .insert("content-type".into(), response.content_type().into());
    if let Fault::RateLimit { seconds } = fault {
        response.headers.insert("x-ratelimit-limit".into(), "120".into());
        response
            .headers
            .insert("x-ratelimit-remaining".into(), "0".into());
        response
            .headers
            .insert("x-ratelimit-reset".into(), (now.seconds() + seconds).to_string());
    }
    Some(response)
}

fn to_http(response: Response, fault: Option<Fault>) -> io::Result<HttpResponse> {
    let mut builder = hyper::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        builder = builder.header(name, value);
    }
    let bytes = match response.body {
        Body::Empty => Vec::new(),
        Body::Json(value) => value.to_string().into_bytes(),
        Body::Text(text) | Body::Html(text) => text.into_bytes(),
    };
    let body = match fault {
        Some(Fault::SlowBody(pause)) => in_two_parts(bytes, Some(pause)),
        Some(Fault::CutBody) => in_two_parts(bytes, None),
        _ => Full::new(Bytes::from(bytes))
            .map_err(|never| match never {})
            .boxed(),
    };
    builder.body(body).map_err(io::Error::other)
}

/// A body whose second half comes after a pause, or never.
fn in_two_parts(mut bytes: Vec<u8>, pause: Option<Duration>) -> HttpBody {
    let rest = bytes.split_off(bytes.len() / 2);
    let first = futures::stream::once(async move { Ok(Frame::data(Bytes::from(bytes))) });
    let second = futures::stream::once(async move {
        let Some(pause) = pause else {
            // The first half is flushed while this waits.
            tokio::task::yield_now().await;
            return Err(io::Error::other("the answer is cut"));
        };
        tokio::time::sleep(pause).await;
        Ok(Frame::data(Bytes::from(rest)))
    });
    BodyExt::boxed(StreamBody::new(Box::pin(first.chain(second)).map(|part| part)))
}

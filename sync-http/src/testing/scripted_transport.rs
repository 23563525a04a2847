//! A transport that answers by script.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::{
    transport::{HttpRequest, HttpResponse, HttpStream, Transport},
    transport_error::{TransportError, TransportErrorKind},
};

type Handler = dyn Fn(&HttpRequest) -> Option<ScriptedAnswer> + Send + Sync;

/// What a [`ScriptedTransport`] does with one request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ScriptedAnswer {
    /// Answers.
    Response(HttpResponse),
    /// Fails.
    Failure(TransportErrorKind),
    /// Answers with a body in these pieces, which then ends, stays open without a word, or is cut.
    Stream {
        /// The head of the answer.
        head: HttpResponse,
        /// The pieces of the body.
        pieces: Vec<Bytes>,
        /// How the body ends.
        end: StreamEnd,
    },
    /// Never answers, until the caller gives up.
    Silence,
}

/// How a scripted body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// As it should.
    Orderly,
    /// The connection is cut.
    Cut,
    /// It stays open without a word.
    Silence,
}

impl ScriptedAnswer {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: &str) -> Self {
        let mut response = HttpResponse::new(status_code(status), body.to_owned());
        let json = HeaderValue::from_static("application/json");
        response.headers.insert(http::header::CONTENT_TYPE, json);
        Self::Response(response)
    }

    /// An event stream of these pieces, with borders wherever the caller puts them.
    pub fn events<P: Into<Bytes>>(pieces: impl IntoIterator<Item = P>, end: StreamEnd) -> Self {
        let mut head = HttpResponse::new(StatusCode::OK, Bytes::new());
        let event_stream = HeaderValue::from_static("text/event-stream");
        head.headers.insert(http::header::CONTENT_TYPE, event_stream);
        Self::Stream {
            head,
            pieces: pieces.into_iter().map(Into::into).collect(),
            end,
        }
    }

    /// Adds a header to the answer, if it is one.
    ///
    /// # Panics
    /// If `value` cannot stand in a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Response(head) | Self::Stream { head, .. } = &mut self {
            let value = HeaderValue::from_str(value).expect("a test gives valid header values");
            head.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a test gives valid statuses")
}

/// A [`Transport`] that answers by script, and remembers what it was asked.
///
/// A request is answered by the handler if that wants to, else by the next answer of the script; a request
/// beyond the script fails as `Connect`, and the test sees it in [`ScriptedTransport::requests`].
///
/// ```
/// use sync_http::{HttpRequest, Method, Transport, testing::{ScriptedAnswer, ScriptedTransport}};
/// # futures::executor::block_on(async {
/// let transport = ScriptedTransport::new();
/// transport.then(ScriptedAnswer::json(200, r#"{"ok":true}"#));
/// let url = "http://server/health".parse().unwrap();
/// let answer = transport.send(HttpRequest::new(Method::GET, url)).await.unwrap();
/// assert_eq!(answer.status, 200);
/// assert_eq!(transport.requests()[0].url.path(), "/health");
/// # });
/// ```
#[derive(Clone, Default)]
pub struct ScriptedTransport {
    shared: Arc<Mutex<Script>>,
    handler: Option<Arc<Handler>>,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<ScriptedAnswer>,
    requests: Vec<HttpRequest>,
}

impl ScriptedTransport {
    /// A transport with an empty script.
    pub fn new() -> Self {
        Self::default()
    }

    /// A transport that asks `handler` first. Where that gives `None`, the script answers.
    pub fn with_handler(
        handler: impl Fn(&HttpRequest) -> Option<ScriptedAnswer> + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared: Arc::default(),
            handler: Some(Arc::new(handler)),
        }
    }

    /// Adds an answer to the script.
    pub fn then(&self, answer: ScriptedAnswer) -> &Self {
        self.script().answers.push_back(answer);
        self
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.script().requests.clone()
    }

    /// How many answers of the script are left.
    pub fn answers_left(&self) -> usize {
        self.script().answers.len()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(
        &self,
        request: HttpRequest,
    ) -> Result<(HttpResponse, Vec<Bytes>, StreamEnd), TransportError> {
        let handled = self.handler.as_ref().and_then(|handler| handler(&request));
        let answer = {
            let mut script = self.script();
            script.requests.push(request);
            handled.or_else(|| script.answers.pop_front())
        };
        match answer {
            Some(ScriptedAnswer::Response(response)) => {
                let pieces = vec![response.body.clone()];
                Ok((response, pieces, StreamEnd::Orderly))
            }
            Some(ScriptedAnswer::Stream { head, pieces, end }) => Ok((head, pieces, end)),
            Some(ScriptedAnswer::Failure(kind)) => Err(TransportError::new(kind, "by script")),
            Some(ScriptedAnswer::Silence) => std::future::pending().await,
            None => Err(TransportError::new(
                TransportErrorKind::Connect,
                "the script has no answer for this request",
            )),
        }
    }
}

#[async_trait]
impl Transport for ScriptedTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let (mut head, pieces, end) = self.answer(request).await?;
        match end {
            StreamEnd::Orderly => {
                head.body = pieces.concat().into();
                Ok(head)
            }
            StreamEnd::Cut => Err(cut()),
            StreamEnd::Silence => std::future::pending().await,
        }
    }

    async fn open(&self, request: HttpRequest) -> Result<HttpStream, TransportError> {
        let (head, pieces, end) = self.answer(request).await?;
        let pieces = stream::iter(pieces.into_iter().map(Ok));
        let body = match end {
            StreamEnd::Orderly => pieces.boxed(),
            StreamEnd::Cut => pieces.chain(stream::iter([Err(cut())])).boxed(),
            StreamEnd::Silence => pieces.chain(stream::pending()).boxed(),
        };
        Ok(HttpStream {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

fn cut() -> TransportError {
    TransportError::new(TransportErrorKind::Interrupted, "cut by script")
}

impl fmt::Debug for ScriptedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let script = self.script();
        f.debug_struct("ScriptedTransport")
            .field("requests", &script.requests.len())
            .field("answers_left", &script.answers.len())
            .finish_non_exhaustive()
    }
}

//! The transport on reqwest.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use http::header::CONTENT_LENGTH;
use reqwest::redirect::Policy;
use sync_core::{ErrorKind, Result, SyncError, Timer};

use crate::{
    timing::within,
    transport::{HttpRequest, HttpResponse, HttpStream, Transport},
    transport_error::{TransportError, TransportErrorKind},
};

/// How [`ReqwestTransport`] works.
#[derive(Clone, Debug)]
pub struct ReqwestOptions {
    /// How long finding and reaching the server may take, within the deadline of each request.
    pub connect_deadline: Duration,
    /// The largest answer accepted, in bytes; for streams there is no limit here.
    pub answer_limit: usize,
    /// What to send as `User-Agent`.
    pub user_agent: String,
    /// Certificate authorities to trust besides the platform's, as PEM.
    pub extra_roots: Vec<Vec<u8>>,
}

impl Default for ReqwestOptions {
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_secs(10),
            answer_limit: 64 << 20,
            user_agent: concat!("sync-http/", env!("CARGO_PKG_VERSION")).to_owned(),
            extra_roots: Vec::new(),
        }
    }
}

/// The transport on reqwest, with rustls.
///
/// One client that keeps its connections: clone it, or share it behind an `Arc`, rather than making several.
/// It does not retry. Redirects are followed only within the same scheme, host and port, so that a token never
/// goes elsewhere. It keeps no cookies.
#[derive(Clone)]
pub struct ReqwestTransport {
    client: reqwest::Client,
    timer: Arc<dyn Timer>,
    connect_deadline: Duration,
    answer_limit: usize,
}

impl ReqwestTransport {
    /// A transport with the default options.
    ///
    /// # Errors
    /// As [`ReqwestTransport::with_options`].
    pub fn new(timer: Arc<dyn Timer>) -> Result<Self> {
        Self::with_options(timer, ReqwestOptions::default())
    }

    /// A transport with its own options.
    ///
    /// # Errors
    /// `Configuration` if the user agent or a certificate cannot be used, or TLS cannot be set up.
    pub fn with_options(timer: Arc<dyn Timer>, options: ReqwestOptions) -> Result<Self> {
        let unusable = |error: reqwest::Error| {
            SyncError::new(ErrorKind::Configuration, "the HTTP client cannot be set up")
                .with_field("reqwest")
                .with_source(error.without_url())
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(&options.user_agent)
            .redirect(Policy::custom(|attempt| {
                let is_same_origin = attempt
                    .previous()
                    .last()
                    .is_some_and(|from| from.origin() == attempt.url().origin());
                if is_same_origin && attempt.previous().len() < 5 {
                    attempt.follow()
                } else {
                    attempt.stop()
                }
            }))
            .retry(reqwest::retry::never())
            .connect_timeout(options.connect_deadline)
            .tcp_nodelay(true);
        for root in &options.extra_roots {
            let certificate = reqwest::Certificate::from_pem(root).map_err(unusable)?;
            builder = builder.tls_certs_merge([certificate]);
        }
        Ok(Self {
            client: builder.build().map_err(unusable)?,
            timer,
            connect_deadline: options.connect_deadline,
            answer_limit: options.answer_limit,
        })
    }

    async fn start(&self, request: HttpRequest) -> Result<reqwest::Response, TransportError> {
        let mut outgoing = reqwest::Request::new(request.method, request.url);
        *outgoing.headers_mut() = request.headers;
        if !request.body.is_empty() {
            *outgoing.body_mut() = Some(request.body.into());
        }
        self.client.execute(outgoing).await.map_err(failure)
    }

    async fn whole(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let answer = self.start(request).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<usize>().ok());
        if announced.is_some_and(|length| length > self.answer_limit) {
            return Err(self.too_large());
        }
        let mut pieces = answer.bytes_stream();
        let mut body = BytesMut::with_capacity(announced.unwrap_or(0));
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(failure)?;
            if body.len() + piece.len() > self.answer_limit {
                return Err(self.too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(HttpResponse {
            status,
            headers,
            body: body.freeze(),
        })
    }

    fn too_large(&self) -> TransportError {
        let message = format!("the answer is larger than {} bytes", self.answer_limit);
        TransportError::new(TransportErrorKind::AnswerTooLarge, message)
    }

    async fn within_deadline<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        within(&*self.timer, deadline, work).await.unwrap_or_else(|| {
            let message = format!("no answer within {} ms", deadline.as_millis());
            Err(TransportError::new(TransportErrorKind::Timeout, message))
        })
    }
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport")
            .field("connect_deadline", &self.connect_deadline)
            .field("answer_limit", &self.answer_limit)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.within_deadline(request.deadline, self.whole(request)).await
    }

    async fn open(&self, request: HttpRequest) -> Result<HttpStream, TransportError> {
        let answer = self
            .within_deadline(request.deadline, self.start(request))
            .await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let pieces = Box::pin(answer.bytes_stream());
        // After an error the body says nothing more.
        let body = stream::unfold(Some(pieces), |pieces| async move {
            let mut pieces = pieces?;
            match pieces.next().await? {
                Ok(piece) => Some((Ok::<Bytes, TransportError>(piece), Some(pieces))),
                Err(error) => Some((Err(failure(error)), None)),
            }
        });
        Ok(HttpStream {
            status,
            headers,
            body: body.boxed(),
        })
    }
}

/// What reqwest's error says about the request's effect.
fn failure(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let kind = if error.is_builder() {
        TransportErrorKind::InvalidRequest
    } else if error.is_connect() {
        TransportErrorKind::Connect
    } else if error.is_timeout() {
        TransportErrorKind::Timeout
    } else if is_parse_error(&error) {
        TransportErrorKind::InvalidAnswer
    } else {
        TransportErrorKind::Interrupted
    };
    let message = match kind {
        TransportErrorKind::InvalidRequest => "the request is not valid",
        TransportErrorKind::Connect => "the server could not be reached",
        TransportErrorKind::Timeout => "the server did not answer in time",
        TransportErrorKind::InvalidAnswer => "the answer is not HTTP",
        _ => "the connection was lost",
    };
    TransportError::new(kind, format!("{message} ({})", root_cause(&error))).with_source(error)
}

fn root_cause(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// hyper does not tell this apart but in words.
fn is_parse_error(error: &dyn StdError) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.to_string().starts_with("invalid HTTP") {
            return true;
        }
        cause = error.source();
    }
    false
}

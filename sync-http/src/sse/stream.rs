//! An event stream over a transport.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use futures::StreamExt;
use http::{HeaderValue, header};
use sync_core::{ErrorKind, Result, SyncError, Timer};

use super::parser::{SseEvent, SseLimits, SseParser};
use crate::{
    status::error_for_status,
    timing::within,
    transport::{HttpRequest, HttpResponse, HttpStream, Transport},
    transport_error::{TransportError, TransportErrorKind},
};

/// How an event stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseOptions {
    /// A stream without a byte for this long is taken for dead: a connection whose other end vanished never says
    /// so by itself.
    pub silence: Duration,
    /// How much an event may hold.
    pub limits: SseLimits,
}

impl Default for SseOptions {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(360),
            limits: SseLimits::default(),
        }
    }
}

/// An open event stream. Dropping it closes the connection.
pub struct SseStream {
    answer: HttpStream,
    parser: SseParser,
    ready: VecDeque<SseEvent>,
    timer: Arc<dyn Timer>,
    silence: Duration,
}

impl SseStream {
    /// Sends `request` and reads its answer as an event stream.
    ///
    /// # Errors
    /// Those of the transport; for a status other than 200, what the status says; `Malformed` if the answer is of
    /// another media type.
    pub async fn open(
        transport: &dyn Transport,
        timer: Arc<dyn Timer>,
        mut request: HttpRequest,
        options: SseOptions,
    ) -> Result<Self> {
        request
            .headers
            .insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let answer = transport.open(request).await?;
        if answer.status != http::StatusCode::OK {
            let refusal = HttpResponse {
                status: answer.status,
                headers: answer.headers,
                body: bytes::Bytes::new(),
            };
            return Err(error_for_status(&refusal));
        }
        let is_event_stream = answer
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.trim_start().starts_with("text/event-stream"));
        if !is_event_stream {
            let why = "the answer is not an event stream";
            return Err(SyncError::new(ErrorKind::Malformed, why).with_field("content-type"));
        }
        Ok(Self {
            answer,
            parser: SseParser::new(options.limits),
            ready: VecDeque::new(),
            timer,
            silence: options.silence,
        })
    }

    /// The next event; `None` when the server has ended the stream.
    ///
    /// # Errors
    /// `Interrupted` if the connection was cut, `Timeout` if it was silent for too long, `AnswerTooLarge` if an
    /// event is larger than the limit. The stream is of no use afterwards.
    ///
    /// # Cancel safety
    /// A dropped call loses no event.
    pub async fn next(&mut self) -> Result<Option<SseEvent>, TransportError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let piece = within(&*self.timer, self.silence, self.answer.body.next())
                .await
                .ok_or_else(|| {
                    TransportError::new(TransportErrorKind::Timeout, "the event stream fell silent")
                })?;
            match piece {
                Some(piece) => self.ready.extend(self.parser.push(&piece?)?),
                None => return Ok(None),
            }
        }
    }

    /// The pause before reconnecting that the server asked for, if it did.
    pub fn retry(&self) -> Option<Duration> {
        self.parser.retry()
    }
}

impl fmt::Debug for SseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseStream")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

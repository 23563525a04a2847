//! The event stream format, as the HTML standard defines it (section 9.2.6).

use std::time::Duration;

use crate::transport_error::{TransportError, TransportErrorKind};

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The event's name; `message` if the server gave none.
    pub event: String,
    /// The data lines, joined by line feeds.
    pub data: String,
    /// The last id the stream told, in this or an earlier event; empty if none.
    pub id: String,
}

/// How much an event may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseLimits {
    /// The longest line, in bytes.
    pub line: usize,
    /// The most data in one event, in bytes.
    pub event: usize,
}

impl Default for SseLimits {
    fn default() -> Self {
        Self {
            line: 4 << 20,
            event: 8 << 20,
        }
    }
}

/// Reads an event stream from pieces with borders anywhere.
///
/// Lines end with LF, CR LF or CR; a byte order mark at the start, comments and unknown fields are skipped; an
/// event that the stream's end cuts is dropped, as the standard says. Bytes that are not UTF-8 become U+FFFD.
///
/// ```
/// use sync_http::SseParser;
/// let mut parser = SseParser::default();
/// assert_eq!(parser.push(b"event: poke\nda").unwrap(), []);
/// let events = parser.push(b"ta: 1\ndata: 2\n\n").unwrap();
/// assert_eq!((events[0].event.as_str(), events[0].data.as_str()), ("poke", "1\n2"));
/// ```
#[derive(Debug, Default)]
pub struct SseParser {
    limits: SseLimits,
    line: Vec<u8>,
    /// The last byte was a CR, so that an LF now belongs to it.
    after_cr: bool,
    /// The first line is behind us, and with it a byte order mark.
    started: bool,
    event: String,
    data: String,
    has_data: bool,
    id: String,
    retry: Option<Duration>,
}

impl SseParser {
    /// A parser with its own limits.
    pub fn new(limits: SseLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes the next piece, and gives the events that are complete with it.
    ///
    /// # Errors
    /// `AnswerTooLarge` if a line or an event is larger than its limit. The stream cannot be read on then.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<SseEvent>, TransportError> {
        let mut events = Vec::new();
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let text = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + text.len() > self.limits.line {
                return Err(too_large("a line of the event stream"));
            }
            self.line.extend_from_slice(text);
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            events.extend(self.take_line(&line)?);
        }
        Ok(events)
    }

    /// The pause before reconnecting that the server asked for, if it did.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<SseEvent>, TransportError> {
        let line = match line.strip_prefix(b"\xEF\xBB\xBF") {
            Some(rest) if !self.started => rest,
            _ => line,
        };
        self.started = true;
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let text = String::from_utf8_lossy(line);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = value.to_owned(),
            "data" => {
                if self.data.len() + value.len() + 1 > self.limits.event {
                    return Err(too_large("an event"));
                }
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis);
            }
            // A comment (no field name), or a field of a later standard.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        std::mem::take(&mut self.has_data).then(|| SseEvent {
            event: if event.is_empty() {
                "message".to_owned()
            } else {
                event
            },
            data,
            id: self.id.clone(),
        })
    }
}

fn too_large(what: &str) -> TransportError {
    TransportError::new(
        TransportErrorKind::AnswerTooLarge,
        format!("{what} is larger than this client accepts"),
    )
}

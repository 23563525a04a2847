//! Server-sent events.

mod parser;
mod stream;

pub use parser::{SseEvent, SseLimits, SseParser};
pub use stream::{SseOptions, SseStream};

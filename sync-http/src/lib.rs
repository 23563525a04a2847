//! What the HTTP adapters share.

mod backoff;
mod base_url;
mod http_date;
mod rate;
mod reconnect;
mod redact;
#[cfg(feature = "reqwest-transport")]
mod reqwest_transport;
mod secret;
mod server_clock;
mod session;
mod sse;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod timing;
mod transport;
mod transport_error;
mod websocket;

pub use backoff::Backoff;
pub use base_url::BaseUrl;
pub use http_date::parse_http_date;
pub use rate::{RateBuckets, RateLimit, RateReport};
pub use reconnect::{PokeSource, reconnecting};
pub use redact::{RedactedHeaders, RedactedUrl};
#[cfg(feature = "reqwest-transport")]
pub use reqwest_transport::{ReqwestOptions, ReqwestTransport};
pub use secret::Secret;
pub use server_clock::{ServerClock, Skew};
pub use session::{
    CredentialStore, Credentials, FixedToken, MemoryCredentialStore, RefreshOptions, Refresher, Session,
    TokenSource, with_credentials,
};
pub use sse::{SseEvent, SseLimits, SseOptions, SseParser, SseStream};
pub use status::{error_for_status, error_of_kind, kind_of_status, retry_after};
pub use transport::{DEFAULT_DEADLINE, HttpRequest, HttpResponse, HttpStream, Transport};
pub use transport_error::{TransportError, TransportErrorKind};
#[cfg(feature = "websocket")]
pub use websocket::{TlsWebSocketConnector, WebSocketOptions};
pub use websocket::{WebSocket, WebSocketConnector, WebSocketMessage, WebSocketRequest};

// What the types above are made of, so that adapters agree with them on versions.
pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use url::Url;

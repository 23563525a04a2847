//! What the HTTP adapters share.
//!
//! An adapter speaks to its backend through a [`Transport`]: [`ReqwestTransport`] in apps, a script in tests. It
//! decides itself what an answer means, because backends hide refusals behind odd statuses; the helpers here only
//! say what is the same everywhere.
//!
//! ```
//! use std::sync::Arc;
//! use sync_core::{ErrorKind, SyncError};
//! use sync_http::{
//!     BaseUrl, Credentials, FixedToken, HttpRequest, Method, Secret, ServerClock, StatusCode, Transport,
//!     error_for_status, header, with_credentials,
//!     testing::{ScriptedAnswer, ScriptedTransport},
//! };
//! # futures::executor::block_on(async {
//! let transport = ScriptedTransport::new();
//! transport.then(
//!     ScriptedAnswer::json(200, r#"["tea","milk"]"#).with_header("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
//! );
//! let base = BaseUrl::parse("https://example.com")?;
//! let source = FixedToken::new(Credentials::new("t0ken"));
//! let server_clock = ServerClock::new(Arc::new(sync_core::SystemClock::new()));
//!
//! // One call of an adapter: with a token, which would be renewed once if the server refused it.
//! let titles: Vec<String> = with_credentials(&source, |credentials| {
//!     let (base, transport, server_clock) = (&base, &transport, &server_clock);
//!     async move {
//!         let token = credentials.map_or_else(|| Secret::new(""), |credentials| credentials.access);
//!         let request = HttpRequest::new(Method::GET, base.join(["titles"]))
//!             .with_secret_header(header::AUTHORIZATION, "Bearer ", &token)?;
//!         let started = server_clock.start();
//!         let response = transport.send(request).await?;
//!         server_clock.observe(started, &response);
//!         match response.status {
//!             StatusCode::OK => response.json(),
//!             _ => Err(error_for_status(&response)),
//!         }
//!     }
//! })
//! .await?;
//! assert_eq!(titles, ["tea", "milk"]);
//! assert!(server_clock.skew().is_some());
//! assert!(!format!("{:?}", transport.requests()).contains("t0ken"));
//!
//! // A request without an answer tells whether it may have had an effect.
//! let error = transport.send(HttpRequest::new(Method::GET, base.join(["x"]))).await.unwrap_err();
//! assert!(error.nothing_sent());
//! assert_eq!(SyncError::from(error).kind(), ErrorKind::Unreachable);
//! # Ok::<(), SyncError>(()) }).unwrap();
//! ```
//!
//! | Subject | Items |
//! |---|---|
//! | Requests | [`Transport`], [`HttpRequest`], [`HttpResponse`], [`HttpStream`], [`BaseUrl`], [`ReqwestTransport`] |
//! | Failures | [`TransportError`] (was anything sent?), [`error_for_status`], [`retry_after`] |
//! | Sign-in | [`TokenSource`], [`Session`] (one refresh at a time, saved before used), [`with_credentials`] |
//! | Secrets | [`Secret`], [`RedactedHeaders`], [`RedactedUrl`]; nothing here logs or shows a token |
//! | Time | [`ServerClock`] (from `Date` headers, with its bound); waits come from the injected timer, [`within`] gives them an end |
//! | Realtime | [`SseStream`], [`WebSocketConnector`], [`reconnecting`] |
//! | Pace | [`Backoff`], [`RateBuckets`] |
//! | Repair | [`count_is_unexplained`] |
//! | Tests | the module `testing`: scripted transports and sockets, a proxy that loses answers |
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `reqwest-transport` | yes | [`ReqwestTransport`] |
//! | `websocket` | yes | [`TlsWebSocketConnector`] |
//! | `testing` | no | the module `testing` |

mod backoff;
mod base_url;
mod http_date;
mod rate;
mod reconnect;
mod redact;
#[cfg(feature = "reqwest-transport")]
mod reqwest_transport;
mod row_count;
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
pub use row_count::count_is_unexplained;
pub use secret::Secret;
pub use server_clock::{ServerClock, Skew};
pub use session::{
    CredentialStore, Credentials, FixedToken, MemoryCredentialStore, RefreshOptions, Refresher, Session,
    TokenSource, with_credentials,
};
pub use sse::{SseEvent, SseLimits, SseOptions, SseParser, SseStream};
pub use status::{error_for_status, error_of_kind, kind_of_status, retry_after};
pub use timing::within;
pub use transport::{DEFAULT_DEADLINE, HttpRequest, HttpResponse, HttpStream, Transport};
pub use transport_error::{TransportError, TransportErrorKind};
#[cfg(feature = "websocket")]
pub use websocket::{TlsWebSocketConnector, WebSocketOptions};
pub use websocket::{WebSocket, WebSocketConnector, WebSocketMessage, WebSocketRequest};

// What the types above are made of, so that adapters agree with them on versions.
pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use url::Url;

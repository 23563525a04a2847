//! Integration tests of sync-http. Time is virtual wherever time matters; servers are sockets on loopback.

// The helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

mod answers;
mod event_streams;
mod fault_proxy;
mod loopback;
mod rates;
mod reconnecting;
mod redaction;
mod reqwest_transport;
mod server_clock;
mod sessions;
mod web_sockets;

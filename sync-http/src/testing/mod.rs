//! Transports and servers that misbehave on demand, for the tests of adapters.

mod scripted_socket;
mod scripted_transport;

pub use scripted_socket::{ScriptedSockets, SocketPeer};
pub use scripted_transport::{ScriptedAnswer, ScriptedTransport, StreamEnd};

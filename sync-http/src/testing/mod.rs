//! Transports and servers that misbehave on demand, for the tests of adapters.

mod fault_proxy;
mod scripted_socket;
mod scripted_transport;
mod wire;

pub use fault_proxy::{FaultProxy, ProxiedRequest, ProxyFault};
pub use scripted_socket::{ScriptedSockets, SocketPeer};
pub use scripted_transport::{ScriptedAnswer, ScriptedTransport, StreamEnd};

//! Realtime: a websocket that says that something changed. What changed is pulled.
//!
//! The server does not promise to deliver a message, and a channel may stand before changes of tables reach it. So
//! nothing of a message is used but that it came, and a pull follows each join and each word that changes of tables
//! arrive from now on. A subscription has a connection of its own, and makes a new one when the old one is lost,
//! stays silent, or is ended because its token expired.

mod channel;
mod frame;
mod line;
mod refusal;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::stream::BoxStream;
use sync_core::{Effects, Poke, Result};
use sync_http::{
    Backoff, BaseUrl, FixedToken, Secret, TlsWebSocketConnector, TokenSource, WebSocketConnector,
    WebSocketOptions, reconnecting,
};

use crate::config::SupabaseConfig;

pub(crate) use channel::{Channel, WatchedTable};
pub use frame::PhoenixVersion;
use line::Line;

/// How the realtime connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RealtimeOptions {
    /// The form of the protocol. Servers older than 2025 may know only [`PhoenixVersion::V1`].
    pub protocol: PhoenixVersion,
    /// How often a heartbeat is sent; 25 seconds unless said otherwise. A server that has not answered one when
    /// the next is due is taken for lost. A renewed token is passed on with the next heartbeat.
    pub heartbeat: Duration,
    /// How long the answer to a join may take; 10 seconds unless said otherwise.
    pub join_deadline: Duration,
}

impl Default for RealtimeOptions {
    fn default() -> Self {
        Self {
            protocol: PhoenixVersion::default(),
            heartbeat: Duration::from_secs(25),
            join_deadline: Duration::from_secs(10),
        }
    }
}

impl RealtimeOptions {
    /// Sets the form of the protocol.
    #[must_use]
    pub fn with_protocol(mut self, protocol: PhoenixVersion) -> Self {
        self.protocol = protocol;
        self
    }
}

/// Where the realtime server is, and who listens.
#[derive(Clone, Debug)]
pub(crate) struct Realtime {
    /// The address of the project.
    pub(crate) project: BaseUrl,
    /// The publishable key; it stands in the address.
    pub(crate) key: Secret,
    pub(crate) tokens: Arc<dyn TokenSource>,
    pub(crate) sockets: Arc<dyn WebSocketConnector>,
    pub(crate) effects: Effects,
    pub(crate) options: RealtimeOptions,
}

impl Realtime {
    /// # Errors
    /// `Configuration` if no connector can be made.
    pub(crate) fn of(config: &SupabaseConfig) -> Result<Self> {
        let effects = config.effects.clone();
        let sockets = match &config.sockets {
            Some(sockets) => Arc::clone(sockets),
            None => Arc::new(TlsWebSocketConnector::new(
                effects.clone(),
                WebSocketOptions::default(),
            )?),
        };
        let tokens = config.tokens.clone();
        Ok(Self {
            project: config.url.clone(),
            key: config.key.secret().clone(),
            tokens: tokens.unwrap_or_else(|| Arc::new(FixedToken::anonymous())),
            sockets,
            effects,
            options: config.options.realtime,
        })
    }

    /// Joins a channel, and again whenever the connection ends.
    ///
    /// # Errors
    /// Those of the first join: `Unauthenticated`, `Forbidden` if the user may not hear the channel, `RateLimited`
    /// at the limits of the project. The engine then goes on with its timer, and subscribes again later.
    pub(crate) async fn listen(&self, channel: Channel) -> Result<BoxStream<'static, Poke>> {
        let line = Line::new(self.clone(), channel);
        reconnecting(Arc::new(line), self.effects.clone(), Backoff::default()).await
    }
}

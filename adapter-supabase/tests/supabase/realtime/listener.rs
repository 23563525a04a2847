//! Listening with a clock that has no patience.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use sync_core::{Effects, Poke, RemoteStore, SyncScope, Timer};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pauses between attempts are short, and what waits for a failure never ends; heartbeats if they are wanted.
#[derive(Debug)]
pub(super) struct Impatient {
    heartbeats: bool,
}

impl Impatient {
    pub(super) fn effects() -> Effects {
        Self { heartbeats: false }.into_effects()
    }

    pub(super) fn with_heartbeats() -> Effects {
        Self { heartbeats: true }.into_effects()
    }

    fn into_effects(self) -> Effects {
        Effects {
            timer: Arc::new(self),
            ..Effects::tokio()
        }
    }
}

#[async_trait]
impl Timer for Impatient {
    async fn sleep(&self, duration: Duration) {
        let is_heartbeat = duration > Duration::from_secs(20) && duration <= Duration::from_secs(25);
        if duration < Duration::from_secs(10) || (self.heartbeats && is_heartbeat) {
            tokio::time::sleep(duration.min(Duration::from_millis(50))).await;
        } else {
            futures::future::pending::<()>().await;
        }
    }
}

pub(super) struct Listener {
    pub(super) pokes: BoxStream<'static, Poke>,
}

impl Listener {
    pub(super) async fn start(remote: &dyn RemoteStore, scope: &SyncScope) -> Self {
        let pokes = remote.subscribe(scope).await.unwrap();
        let mut listener = Self { pokes };
        assert_eq!(listener.next().await, Poke::Subscribed);
        listener
    }

    pub(super) async fn next(&mut self) -> Poke {
        let poke = tokio::time::timeout(PATIENCE, self.pokes.next()).await;
        poke.expect("a poke in time").expect("the subscription goes on")
    }
}

/// Waits until something holds.
pub(super) async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
}

//! A subscription that comes back.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use sync_core::{Effects, Poke, Result, RetryClass};

use crate::backoff::Backoff;

/// A connection that lived this long was a good one: the next failure is the first again.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Makes connections that bring pokes.
#[async_trait]
pub trait PokeSource: fmt::Debug + Send + Sync + 'static {
    /// Connects and subscribes. Ends once the subscription stands; what is written afterwards will be poked. The
    /// stream ends when the connection does, and does not begin with [`Poke::Subscribed`].
    ///
    /// # Errors
    /// Whatever keeps the subscription from standing.
    async fn connect(&self) -> Result<BoxStream<'static, Poke>>;
}

/// Connects, and connects again whenever the connection ends, with [`Backoff`] between attempts.
///
/// The stream begins with [`Poke::Subscribed`], and gives it again after each reconnection, because what was
/// missed meanwhile must be pulled. It ends when a failure will not pass by waiting (a refused sign-in, a wrong
/// configuration); whoever subscribes again is told which. Dropping it closes the connection; no task stays
/// behind.
///
/// # Errors
/// Those of the first connection.
pub async fn reconnecting(
    source: Arc<dyn PokeSource>,
    effects: Effects,
    backoff: Backoff,
) -> Result<BoxStream<'static, Poke>> {
    let pokes = source.connect().await?;
    let connected_at = effects.clock.monotonic();
    let line = Line {
        source,
        effects,
        backoff,
        failures: 0,
        state: LineState::Subscribed { pokes, connected_at },
    };
    Ok(stream::unfold(line, |mut line| async move {
        let poke = line.next().await?;
        Some((poke, line))
    })
    .boxed())
}

struct Line {
    source: Arc<dyn PokeSource>,
    effects: Effects,
    backoff: Backoff,
    failures: u32,
    state: LineState,
}

enum LineState {
    /// Connected, and nobody was told yet.
    Subscribed {
        pokes: BoxStream<'static, Poke>,
        connected_at: Duration,
    },
    Listening {
        pokes: BoxStream<'static, Poke>,
        connected_at: Duration,
    },
    Down,
}

impl Line {
    async fn next(&mut self) -> Option<Poke> {
        loop {
            match std::mem::replace(&mut self.state, LineState::Down) {
                LineState::Subscribed { pokes, connected_at } => {
                    self.state = LineState::Listening { pokes, connected_at };
                    return Some(Poke::Subscribed);
                }
                LineState::Listening {
                    mut pokes,
                    connected_at,
                } => {
                    let poke = pokes.next().await;
                    if poke.is_some() {
                        self.state = LineState::Listening { pokes, connected_at };
                        return poke;
                    }
                    let lived = self.effects.clock.monotonic().saturating_sub(connected_at);
                    if lived >= STABLE_AFTER {
                        self.failures = 0;
                    }
                    self.failures = self.failures.saturating_add(1);
                }
                LineState::Down => {
                    let mut pause = self.backoff.pause(self.failures, &*self.effects.random);
                    loop {
                        self.effects.timer.sleep(pause).await;
                        match self.source.connect().await {
                            Ok(pokes) => {
                                let connected_at = self.effects.clock.monotonic();
                                self.state = LineState::Subscribed { pokes, connected_at };
                                break;
                            }
                            Err(error) => {
                                tracing::debug!(kind = %error.kind(), "a subscription could not be renewed");
                                self.failures = self.failures.saturating_add(1);
                                pause = self.backoff.pause(self.failures, &*self.effects.random);
                                match error.retry() {
                                    RetryClass::Backoff => {}
                                    RetryClass::After(wanted) => pause = pause.max(wanted),
                                    _ => return None,
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

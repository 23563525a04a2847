//! A sign-in that renews itself.

mod credentials;
mod source;
mod store;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    FutureExt,
    channel::oneshot,
    future::{BoxFuture, Shared},
};
use sync_core::{Effects, ErrorKind, Result, RetryClass, SyncError, Timestamp};

pub use credentials::Credentials;
pub use source::{FixedToken, TokenSource, with_credentials};
pub use store::{CredentialStore, MemoryCredentialStore};

use crate::server_clock::ServerClock;

/// Gets new credentials from the backend.
#[async_trait]
pub trait Refresher: fmt::Debug + Send + Sync + 'static {
    /// New credentials in place of `current`.
    ///
    /// # Errors
    /// `Unauthenticated` only if the backend has refused for good, so that the user must sign in again. Whatever
    /// may pass (no network, 429, 5xx) is another kind.
    async fn refresh(&self, current: &Credentials) -> Result<Credentials>;
}

/// When a session refreshes its token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefreshOptions {
    /// This long before the token expires, but not before half of its life.
    pub margin: Duration,
    /// Whether to refresh at half of the token's life already: for backends where an expired token cannot be
    /// refreshed, so that a device which is seldom online stays signed in as long as possible.
    pub at_half_life: bool,
    /// After a refresh failed while the token was still good: the pause before the next one.
    pub cooldown: Duration,
}

impl Default for RefreshOptions {
    fn default() -> Self {
        Self {
            margin: Duration::from_secs(90),
            at_half_life: false,
            cooldown: Duration::from_secs(60),
        }
    }
}

/// A sign-in that renews itself.
///
/// Guarantees:
/// - One refresh at a time: any number of callers that find the token expired, or refused, wait for the same one.
/// - A refresh runs as a task of its own. A caller that is dropped does not stop it, and its result is kept.
/// - New credentials are saved before they are used. Credentials that another process saved are taken from the
///   [`CredentialStore`] instead of refreshing.
/// - Only a refusal by the backend ends the sign-in; a failure that may pass leaves it as it is. Credentials are
///   never deleted except by [`Session::sign_out`].
/// - A sign-in during a refresh wins over the refresh.
/// - Expiry is judged by the server's clock, as far as it is known.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    refresher: Arc<dyn Refresher>,
    store: Arc<dyn CredentialStore>,
    server_clock: Arc<ServerClock>,
    effects: Effects,
    options: RefreshOptions,
    state: Mutex<State>,
    /// Held while credentials are saved and taken into use, so that both happen in the same order.
    saving: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// The backend refused to refresh these credentials.
    refused: bool,
    /// Counts sign-ins, refreshes and sign-outs.
    generation: u64,
    flight: Option<Flight>,
    /// No refresh ahead of time before this moment of the monotonic clock.
    cooling_until: Duration,
}

#[derive(Clone, Debug)]
struct Held {
    credentials: Credentials,
    /// When they came, by the server's clock, if they came in this process.
    since: Option<Timestamp>,
}

type Answer = Result<Credentials>;
type Flight = Shared<BoxFuture<'static, Answer>>;

impl Session {
    /// A session without a sign-in. [`Session::restore`] takes one up from the store.
    pub fn new(
        refresher: Arc<dyn Refresher>,
        store: Arc<dyn CredentialStore>,
        server_clock: Arc<ServerClock>,
        effects: Effects,
        options: RefreshOptions,
    ) -> Self {
        Self(Arc::new(Inner {
            refresher,
            store,
            server_clock,
            effects,
            options,
            state: Mutex::default(),
            saving: tokio::sync::Mutex::default(),
        }))
    }

    /// Takes up what the store holds. Answers whether there was something.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn restore(&self) -> Result<bool> {
        let _order = self.0.saving.lock().await;
        let Some(credentials) = self.0.store.load().await? else {
            return Ok(false);
        };
        self.0.take_into_use(credentials, None);
        Ok(true)
    }

    /// Takes up credentials that a sign-in just gave: saves them, then uses them.
    ///
    /// # Errors
    /// Those of the store; the session is then as before.
    ///
    /// # Cancel safety
    /// A dropped call may have saved the credentials without using them in this process.
    pub async fn sign_in(&self, credentials: Credentials) -> Result<()> {
        let _order = self.0.saving.lock().await;
        self.0.store.save(&credentials).await?;
        self.0.take_into_use(credentials, Some(self.0.server_clock.now()));
        Ok(())
    }

    /// Forgets the credentials, here and in the store.
    ///
    /// # Errors
    /// Those of the store; the credentials are not used any more all the same.
    pub async fn sign_out(&self) -> Result<()> {
        let _order = self.0.saving.lock().await;
        {
            let mut state = self.0.state();
            state.held = None;
            state.refused = false;
            state.generation += 1;
        }
        self.0.store.clear().await
    }

    /// Whether there is no usable sign-in: none at all, or one the backend refused to renew.
    pub fn needs_sign_in(&self) -> bool {
        let state = self.0.state();
        state.held.is_none() || state.refused
    }

    /// The id of the signed-in user, if known.
    pub fn subject(&self) -> Option<String> {
        self.0.state().held.as_ref()?.credentials.subject.clone()
    }

    /// Refreshes now, or joins the refresh that is under way.
    ///
    /// # Errors
    /// `Unauthenticated` if there is no sign-in or the backend refused to renew it; those of the [`Refresher`].
    ///
    /// # Cancel safety
    /// A refresh that was begun goes on to its end, and its result is kept.
    pub async fn refresh(&self) -> Result<Credentials> {
        let flight = self.0.flight(&mut self.0.state())?;
        flight.await
    }
}

#[async_trait]
impl TokenSource for Session {
    async fn credentials(&self) -> Result<Option<Credentials>> {
        let flight = {
            let mut state = self.0.state();
            let held = state.usable()?.clone();
            let now = self.0.server_clock.now();
            if !held.is_expired(now) {
                let cooling = self.0.effects.clock.monotonic() < state.cooling_until;
                if held.is_due(now, &self.0.options) && !cooling {
                    // It runs by itself; this request goes with the token that is still good.
                    drop(self.0.flight(&mut state)?);
                }
                return Ok(Some(held.credentials));
            }
            self.0.flight(&mut state)?
        };
        flight.await.map(Some)
    }

    async fn renew(&self, refused: Option<&Credentials>) -> Result<Credentials> {
        let flight = {
            let mut state = self.0.state();
            let held = state.usable()?;
            if refused.is_none_or(|refused| refused.access != held.credentials.access) {
                return Ok(held.credentials.clone());
            }
            self.0.flight(&mut state)?
        };
        flight.await
    }
}

impl State {
    fn usable(&self) -> Result<&Held> {
        match &self.held {
            Some(held) if !self.refused => Ok(held),
            Some(_) => Err(signed_out("the sign-in has ended; sign in again")),
            None => Err(signed_out("nobody is signed in")),
        }
    }
}

impl Held {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.credentials.expires_at.is_some_and(|end| now >= end)
    }

    fn is_due(&self, now: Timestamp, options: &RefreshOptions) -> bool {
        let Some(end) = self.credentials.expires_at else {
            return false;
        };
        let half = self.since.map(|since| end.since(since) / 2);
        let ahead = match half {
            Some(half) if options.at_half_life => half,
            Some(half) => options.margin.min(half),
            None => options.margin,
        };
        end.since(now) <= ahead
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_into_use(&self, credentials: Credentials, since: Option<Timestamp>) {
        let mut state = self.state();
        state.held = Some(Held { credentials, since });
        state.refused = false;
        state.generation += 1;
    }

    /// The refresh that is under way, or a new one.
    fn flight(self: &Arc<Self>, state: &mut State) -> Result<Flight> {
        if let Some(flight) = &state.flight
            && flight.peek().is_none()
        {
            return Ok(flight.clone());
        }
        let held = state.usable()?.clone();
        let generation = state.generation;
        let (answer, waiting) = oneshot::channel();
        let inner = Arc::clone(self);
        self.effects.spawner.spawn(
            async move {
                let result = inner.renew_held(held.credentials, generation).await;
                inner.state().flight = None;
                // Nobody may be waiting any more; the result is in the state.
                let _ = answer.send(result);
            }
            .boxed(),
        );
        let flight = async move { waiting.await.unwrap_or_else(|_| Err(abandoned())) }
            .boxed()
            .shared();
        state.flight = Some(flight.clone());
        Ok(flight)
    }

    async fn renew_held(&self, current: Credentials, generation: u64) -> Answer {
        if let Some(other) = self.saved_by_another(&current).await {
            return self.replace(other, generation, false).await;
        }
        match self.refresher.refresh(&current).await {
            Ok(renewed) => self.replace(renewed, generation, true).await,
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "the token could not be refreshed");
                let mut state = self.state();
                if state.generation == generation {
                    state.refused = error.kind() == ErrorKind::Unauthenticated;
                    state.cooling_until = self.effects.clock.monotonic() + self.options.cooldown;
                }
                Err(error)
            }
        }
    }

    /// Credentials that another process put into the store since, if they are still good.
    async fn saved_by_another(&self, current: &Credentials) -> Option<Credentials> {
        let saved = match self.store.load().await {
            Ok(saved) => saved?,
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "the credential store could not be read");
                return None;
            }
        };
        let is_other = saved.access != current.access && saved.subject == current.subject;
        let is_good = saved.expires_at.is_none_or(|end| self.server_clock.now() < end);
        (is_other && is_good).then_some(saved)
    }

    /// Takes renewed credentials into use, unless a sign-in or sign-out came first.
    async fn replace(&self, renewed: Credentials, generation: u64, save: bool) -> Answer {
        let _order = self.saving.lock().await;
        if self.state().generation != generation {
            return self.state().usable().map(|held| held.credentials.clone());
        }
        if save && let Err(error) = self.store.save(&renewed).await {
            // The old token may be spent already, so the new one must be used even if it cannot be kept.
            tracing::warn!(kind = %error.kind(), "renewed credentials could not be saved");
        }
        self.take_into_use(renewed.clone(), Some(self.server_clock.now()));
        Ok(renewed)
    }
}

fn signed_out(why: &str) -> SyncError {
    SyncError::new(ErrorKind::Unauthenticated, why)
}

fn abandoned() -> SyncError {
    SyncError::new(ErrorKind::Stopped, "the refresh was given up before it ended")
        .with_retry(RetryClass::Backoff)
}

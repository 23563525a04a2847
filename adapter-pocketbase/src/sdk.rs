//! Login and health through the crate `pocketbase-sdk`, for apps that use it already.
//!
//! This is all that the crate is good for here. Version 0.1.1 speaks the API of PocketBase 0.15: its superusers cannot
//! sign in the way it knows (they are the auth collection `_superusers` now, which [`PocketBaseSdk::sign_in`] takes),
//! its lists ignore the page size, it fails on records without `created` and `updated` after it wrote them, its errors
//! are texts, and it knows neither batches, nor realtime, nor renewing a token. It blocks a thread for each call; one
//! that has no answer goes on blocking after the deadline. The data path of this adapter never uses it.

use std::sync::Arc;

use futures::future::{Either, select};
use pocketbase_sdk::client::Client;
use sync_core::{ErrorKind, Result, SyncError, Timer};
use sync_http::{BaseUrl, Credentials, DEFAULT_DEADLINE, Secret};

/// A server as `pocketbase-sdk` knows it.
#[derive(Clone, Debug)]
pub struct PocketBaseSdk {
    url: String,
    timer: Arc<dyn Timer>,
}

impl PocketBaseSdk {
    /// The server at this address.
    ///
    /// # Errors
    /// `Configuration` if `url` is not the address of a server.
    pub fn new(url: &str, timer: Arc<dyn Timer>) -> Result<Self> {
        BaseUrl::parse(url)?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            timer,
        })
    }

    /// What the server says about its health. The server's message, not a promise: a server whose disk is full is
    /// healthy.
    ///
    /// # Errors
    /// `Unreachable`, `Timeout`, or what the status says.
    ///
    /// # Cancel safety
    /// Nothing is left behind but a thread that waits for its answer.
    pub async fn health(&self) -> Result<String> {
        let client = Client::new(&self.url);
        self.call(move || client.health_check().map(|health| health.message))
            .await
    }

    /// Signs in with a password, at any auth collection, `_superusers` included. The credentials work with
    /// [`Session`](sync_http::Session) and [`PocketBaseAuth`](crate::PocketBaseAuth), which renew them.
    ///
    /// # Errors
    /// `Unauthenticated` if the server does not accept them; `Unreachable`, `Timeout`, or what the status says.
    ///
    /// # Cancel safety
    /// Nothing is left behind but a thread that waits for its answer.
    pub async fn sign_in(&self, collection: &str, identity: &str, password: &Secret) -> Result<Credentials> {
        let client = Client::new(&self.url);
        let (collection, identity) = (collection.to_owned(), identity.to_owned());
        let password = password.clone();
        let signed_in = self
            .call(move || client.auth_with_password(&collection, &identity, password.reveal()))
            .await?;
        let token = signed_in.auth_token.unwrap_or_default();
        Ok(Credentials::from_jwt(Secret::new(token)))
    }

    async fn call<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
        &self,
        call: impl FnOnce() -> std::result::Result<T, E> + Send + 'static,
    ) -> Result<T> {
        let thread = tokio::task::spawn_blocking(move || call().map_err(|error| error.to_string()));
        match select(thread, self.timer.sleep(DEFAULT_DEADLINE)).await {
            Either::Left((Ok(answer), _)) => answer.map_err(|text| error_of(&text)),
            Either::Left((Err(panic), _)) => Err(error(ErrorKind::Internal, panic.to_string())),
            Either::Right(_) => Err(error(ErrorKind::Timeout, "no answer from the server".to_owned())),
        }
    }
}

fn error(kind: ErrorKind, message: String) -> SyncError {
    SyncError::new(kind, message).with_adapter("pocketbase-sdk")
}

/// The crate's errors are texts, with the status in words if there was one.
fn error_of(text: &str) -> SyncError {
    let status = text.split("status code ").nth(1).and_then(|rest| {
        rest.split(|char: char| !char.is_ascii_digit())
            .next()?
            .parse::<u16>()
            .ok()
    });
    let kind = match status {
        None => ErrorKind::Unreachable,
        Some(400 | 401 | 403) => ErrorKind::Unauthenticated,
        Some(404) => ErrorKind::NotFound,
        Some(429) => ErrorKind::RateLimited,
        Some(_) => ErrorKind::Server,
    };
    error(
        kind,
        status.map_or_else(|| "no connection".to_owned(), |status| format!("status {status}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_kinds_and_addresses_are_left_out() {
        for (text, kind) in [
            (
                "http://example.com/x: status code 400",
                ErrorKind::Unauthenticated,
            ),
            ("http://example.com/x: status code 503", ErrorKind::Server),
            (
                "http://example.com/x: Connection Failed: refused",
                ErrorKind::Unreachable,
            ),
        ] {
            let error = error_of(text);
            assert_eq!(error.kind(), kind, "{text}");
            assert!(!error.to_string().contains("example.com"), "{error}");
        }
    }
}

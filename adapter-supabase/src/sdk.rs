//! Selects and function calls through the crate `supabase_rs`, for servers that use it already.
//!
//! This is all that the crate is good for here: calls with the key of a server, which no policy restricts. What it cannot
//! do, in version 0.8:
//!
//! - carry a user's token beside the key: it sends the key as the token, so row-level security never sees a user;
//! - name the columns of a conflict in an upsert, ignore duplicates, or write on a condition;
//! - filters with `or`, `not`, `is` and `like`; in lists it does not quote values, so that a comma in one makes two;
//! - tell a function's array from the rows of a function: it gives the elements;
//! - retry, renew a sign-in, or end a call that has no answer: the deadline here is this module's.
//!
//! Its insert makes up an id of its own. The data path of this adapter never uses it.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};
use supabase_rs::{SupabaseClient, errors::Error};
use sync_core::{ErrorKind, Result, SyncError, Timer};
use sync_http::{BaseUrl, DEFAULT_DEADLINE, HttpResponse, StatusCode, within};

use crate::{config::refused, error::error_of, key::ApiKey};

/// The adapter's name in errors of this module.
const SDK: &str = "supabase_rs";

/// A project as `supabase_rs` knows it, with the key of a server. `Debug` hides the key.
#[derive(Clone)]
pub struct SupabaseSdk {
    client: SupabaseClient,
    timer: Arc<dyn Timer>,
    deadline: Duration,
}

impl SupabaseSdk {
    /// The project at this address, with a secret key or the older key of the service role.
    ///
    /// # Errors
    /// `Configuration` if `url` is not the address of a server, if the key is a publishable one, with which this crate
    /// would see what anybody sees, or if no client can be made.
    pub fn new(url: &str, key: &ApiKey, timer: Arc<dyn Timer>) -> Result<Self> {
        BaseUrl::parse(url)?;
        if !key.is_of_a_server() {
            return Err(refused(
                "key",
                "must be the key of a server; users need the adapter itself",
            ));
        }
        let client = SupabaseClient::new(url, key.secret().reveal()).map_err(|error| meaning(&error))?;
        Ok(Self {
            client,
            timer,
            deadline: DEFAULT_DEADLINE,
        })
    }

    /// The rows of a table that have these values in these columns, at most as many as the project gives at once
    /// (1,000 unless set otherwise), without a word about the others.
    ///
    /// # Errors
    /// `Unreachable`, `Timeout`, or what the answer's code says.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn select(&self, table: &str, equal: &[(&str, &str)]) -> Result<Vec<Value>> {
        let query = self.client.select(table);
        let query = equal
            .iter()
            .fold(query, |query, (column, value)| query.eq(column, value));
        self.within_deadline(query.execute()).await
    }

    /// Calls a function that gives one value, and no array. Leave out arguments that are null.
    ///
    /// # Errors
    /// As [`SupabaseSdk::select`].
    ///
    /// # Cancel safety
    /// The function may or may not have had its effect.
    pub async fn call(&self, function: &str, arguments: &Value) -> Result<Value> {
        let call = self.client.rpc(function, arguments);
        self.within_deadline(call.execute_single()).await
    }

    async fn within_deadline<T>(
        &self,
        answer: impl Future<Output = std::result::Result<T, Error>>,
    ) -> Result<T> {
        match within(&*self.timer, self.deadline, answer).await {
            Some(answer) => answer.map_err(|error| meaning(&error)),
            None => Err(SyncError::new(ErrorKind::Timeout, "no answer from the project").with_adapter(SDK)),
        }
    }
}

impl fmt::Debug for SupabaseSdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupabaseSdk")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// The crate's error in the words of this one. Texts of its own may hold addresses, and are left out.
fn meaning(error: &Error) -> SyncError {
    let plain = |kind: ErrorKind, message: &str| SyncError::new(kind, message);
    match error {
        Error::Api(api) => {
            let body =
                json!({"code": api.code, "message": api.message, "details": api.details, "hint": api.hint});
            let status = StatusCode::from_u16(api.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            error_of(&HttpResponse::new(status, body.to_string()))
        }
        Error::Transport(error) if error.is_timeout() => {
            plain(ErrorKind::Timeout, "no answer from the project")
        }
        Error::Transport(_) | Error::Io(_) => plain(ErrorKind::Unreachable, "no connection to the project"),
        Error::InvalidInput(_) => plain(ErrorKind::Invalid, "a name or value cannot be sent"),
        Error::Configuration(_) => plain(
            ErrorKind::Configuration,
            "the project's address or key cannot be used",
        ),
        _ => plain(ErrorKind::Malformed, "the answer cannot be understood"),
    }
    .with_adapter(SDK)
}

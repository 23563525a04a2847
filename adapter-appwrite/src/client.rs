//! Requests to the server: how they are made, signed and read. What they are for is told elsewhere.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, Method};
use serde_json::Value;
use sync_core::{ErrorKind, Result, RetryClass, SyncError, Timestamp};
use sync_http::{
    BaseUrl, Credentials, HttpRequest, HttpResponse, RateBuckets, RateLimit, RateReport, Secret, ServerClock,
    Transport, with_credentials,
};

use crate::{
    auth::{Credential, CredentialKind, PROJECT_HEADER},
    error::{error_of, rate_report, types},
    query::{MAX_QUERIES, Query},
    row::{Row, UnreadableRow, write_time},
    table::Table,
};

/// The shape of answers that this adapter was written for; servers of other versions convert to it or ignore it.
const RESPONSE_FORMAT: &str = "1.9.5";

/// The server grants 120 creates and 120 updates a minute to a user, over all tables.
const WRITES_A_MINUTE: u32 = 110;

/// Which of the server's limits a write counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WriteKind {
    Create,
    Update,
}

impl WriteKind {
    fn key(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// One request of the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    only_if_not_newer_than: Option<i64>,
    counts_as: Option<WriteKind>,
}

impl Call {
    pub(crate) fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            query: Vec::new(),
            body: None,
            only_if_not_newer_than: None,
            counts_as: None,
        }
    }

    /// The rows of a table, or one of them.
    pub(crate) fn rows(method: Method, table: &Table, id: Option<&str>) -> Self {
        let mut path = vec!["tablesdb", &table.database, "tables", &table.table, "rows"];
        path.extend(id);
        Self::new(method, &path)
    }

    pub(crate) fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Lets the write apply only if the row was not written after this time: compare and set.
    pub(crate) fn only_if_not_newer_than(mut self, updated_at: i64) -> Self {
        self.only_if_not_newer_than = Some(updated_at);
        self
    }

    pub(crate) fn counts_as(mut self, kind: WriteKind) -> Self {
        self.counts_as = Some(kind);
        self
    }
}

/// One page of rows.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) rows: Vec<Result<Row, UnreadableRow>>,
    /// The server's time when it answered, cut to the second.
    pub(crate) date: Timestamp,
}

/// What requests need, whoever they are signed by.
#[derive(Debug)]
pub(crate) struct Client {
    transport: Arc<dyn Transport>,
    endpoint: BaseUrl,
    project: String,
    credential: Credential,
    clock: ServerClock,
    rates: RateBuckets,
    effects: sync_core::Effects,
    deadline: Duration,
}

impl Client {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        endpoint: BaseUrl,
        project: String,
        credential: Credential,
        effects: sync_core::Effects,
        deadline: Duration,
    ) -> Self {
        let limit = RateLimit {
            requests: WRITES_A_MINUTE,
            window: Duration::from_secs(60),
        };
        Self {
            transport,
            endpoint,
            project,
            clock: ServerClock::new(Arc::clone(&effects.clock)),
            rates: RateBuckets::new(Arc::clone(&effects.clock), Arc::clone(&effects.timer), limit),
            credential,
            effects,
            deadline,
        }
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Does `work` under one sign-in. If that turns out to be refused, it is renewed once and the work done again.
    ///
    /// # Errors
    /// Those of `work` and of the token source.
    pub(crate) async fn signed<'c, T, F>(&'c self, work: impl Fn(Signed<'c>) -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        with_credentials(&*self.credential.source, |credentials| {
            work(Signed {
                client: self,
                credentials,
            })
        })
        .await
    }

    /// The server's time as estimated from all answers so far.
    pub(crate) fn server_time(&self) -> Timestamp {
        self.clock.now()
    }

    /// The latest that the server's clock can be now.
    ///
    /// # Errors
    /// Those of a request, if the server's time is not known yet.
    pub(crate) async fn latest_server_time(&self) -> Result<Timestamp> {
        let skew = match self.clock.skew() {
            Some(skew) => skew,
            None => {
                self.ping().await?;
                self.clock.skew().ok_or_else(no_date)?
            }
        };
        let ahead = skew.micros.saturating_add(skew.error_micros);
        Ok(self.effects.clock.now().plus_micros(ahead))
    }

    /// The server's time by the `Date` of a small answer, to the second.
    pub(crate) async fn ping(&self) -> Result<Timestamp> {
        let response = self.exchange(None, Call::new(Method::GET, &["ping"])).await?;
        if !response.status.is_success() {
            return Err(error_of(&response, CredentialKind::Anonymous));
        }
        response.date().ok_or_else(no_date)
    }

    /// Counts a write against the server's limit, or tells how long to wait for one.
    pub(crate) fn take_write(&self, kind: WriteKind) -> Result<(), Duration> {
        if self.credential.kind == CredentialKind::ApiKey {
            return Ok(());
        }
        self.rates.try_acquire(kind.key())
    }

    async fn exchange(&self, credentials: Option<&Credentials>, call: Call) -> Result<HttpResponse> {
        let url = self.endpoint.join(call.path.iter().map(String::as_str));
        let mut request = HttpRequest::new(call.method, url)
            .with_query(call.query.iter().map(|(name, value)| (*name, value.as_str())))
            .with_deadline(self.deadline)
            .with_header(PROJECT_HEADER, &self.project)?
            .with_header(
                HeaderName::from_static("x-appwrite-response-format"),
                RESPONSE_FORMAT,
            )?;
        if let Some((credentials, header)) = credentials.zip(self.credential.kind.header()) {
            request = request.with_secret_header(header, "", &credentials.access)?;
        }
        if let Some(updated_at) = call.only_if_not_newer_than {
            let header = HeaderName::from_static("x-appwrite-timestamp");
            request = request.with_header(header, &write_time(updated_at))?;
        }
        if let Some(body) = &call.body {
            request = request.with_json(body)?;
        }
        let started = self.clock.start();
        let response = self.transport.send(request).await?;
        self.clock.observe(started, &response);
        if let Some((kind, (remaining, resets_in))) = call.counts_as.zip(rate_report(&response)) {
            self.rates.report(kind.key(), RateReport { remaining, resets_in });
        }
        Ok(response)
    }
}

fn no_date() -> SyncError {
    SyncError::new(
        ErrorKind::Configuration,
        "the server's answers have no `Date` header; a proxy in front of it must pass it on",
    )
    .with_field("endpoint")
}

/// The client under one sign-in.
#[derive(Clone, Debug)]
pub(crate) struct Signed<'c> {
    client: &'c Client,
    credentials: Option<Credentials>,
}

impl Signed<'_> {
    /// The token that requests carry.
    pub(crate) fn token(&self) -> Option<&Secret> {
        self.credentials.as_ref().map(|credentials| &credentials.access)
    }

    /// Sends a request; a refusal is an error with the server's type as its code.
    ///
    /// A missing permission and an expired session are refused alike, so the sign-in is proved before a refusal
    /// counts as a missing permission.
    pub(crate) async fn send(&self, call: Call) -> Result<HttpResponse> {
        let response = self.client.exchange(self.credentials.as_ref(), call).await?;
        if response.status.is_success() {
            return Ok(response);
        }
        let error = error_of(&response, self.client.credential.kind);
        if error.code() == Some(types::USER_UNAUTHORIZED) && error.kind() == ErrorKind::Forbidden {
            self.prove().await?;
        }
        Err(error)
    }

    /// Proves that the sign-in is good, and tells the user's id. An expired one is answered as a guest elsewhere:
    /// with fewer rows, and without an error.
    ///
    /// # Errors
    /// `Unauthenticated` if it is not; those of the request.
    pub(crate) async fn prove(&self) -> Result<Option<String>> {
        if !self.client.credential.kind.is_user() {
            return Ok(None);
        }
        let call = Call::new(Method::GET, &["account"]);
        let response = self.client.exchange(self.credentials.as_ref(), call).await?;
        if !response.status.is_success() {
            return Err(error_of(&response, self.client.credential.kind));
        }
        let account: Value = response.json()?;
        Ok(account["$id"].as_str().map(str::to_owned))
    }

    /// Rows of a table that answer the queries.
    pub(crate) async fn list(&self, table: &Table, queries: Vec<Query>) -> Result<Listed> {
        debug_assert!(queries.len() <= MAX_QUERIES, "the server refuses so many queries");
        let mut call = Call::rows(Method::GET, table, None);
        call.query = queries.iter().map(|query| ("queries[]", query.text())).collect();
        // Written so, since the server takes the text `false` for true.
        call.query.push(("total", "0".to_owned()));
        let response = self.send(call).await?;
        let date = response.date().ok_or_else(no_date)?;
        let mut body: Value = response.json()?;
        // An index into what is no object panics.
        let Some(Value::Array(rows)) = body.get_mut("rows").map(Value::take) else {
            return Err(
                SyncError::new(ErrorKind::Malformed, "the answer has no list of rows").with_field("rows"),
            );
        };
        Ok(Listed {
            rows: rows.into_iter().map(Row::read).collect(),
            date,
        })
    }

    /// Sends a write that is answered with the row as stored.
    pub(crate) async fn write(&self, call: Call) -> Result<Row> {
        let response = self.send(call).await?;
        Row::read(response.json()?)
            .map_err(|unreadable| SyncError::new(ErrorKind::Malformed, unreadable.error))
    }
}

/// The pause that an error asks for, if it says so.
pub(crate) fn pause(error: &SyncError) -> Option<Duration> {
    match error.retry() {
        RetryClass::After(pause) => Some(pause),
        _ => None,
    }
}

//! The dozen calls of the server's API that are needed.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use sync_core::{ErrorKind, JsonObject, Result, RetryClass, SyncError, Timestamp};
use sync_http::{
    BaseUrl, Credentials, HttpRequest, HttpResponse, Method, ServerClock, StatusCode, Transport,
    TransportError, Url, header,
};

use crate::{
    auth::auth_collection_of,
    error::{ADAPTER, BatchRefusal, Refusal, batch_refusal},
    wire::{Batch, BatchAnswer, BatchRequest, Meta, Page},
};

/// The most rows that the server gives in one page.
pub(crate) const LARGEST_PAGE: u32 = 1_000;

/// What a list is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListQuery<'a> {
    pub(crate) filter: &'a str,
    pub(crate) sort: &'a str,
    pub(crate) fields: &'a str,
    pub(crate) per_page: u32,
    /// Whether to count all rows of the filter too.
    pub(crate) count: bool,
}

/// The connection to one server.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) base: BaseUrl,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) server_clock: ServerClock,
    pub(crate) deadline: Duration,
}

impl Client {
    pub(crate) async fn send(
        &self,
        request: HttpRequest,
        credentials: Option<&Credentials>,
    ) -> Result<HttpResponse> {
        let mut request = request.with_deadline(self.deadline);
        if let Some(credentials) = credentials {
            request = request.with_secret_header(header::AUTHORIZATION, "", &credentials.access)?;
        }
        let started = self.server_clock.start();
        let response = self
            .transport
            .send(request)
            .await
            .map_err(|error: TransportError| SyncError::from(error).with_adapter(ADAPTER))?;
        self.server_clock.observe(started, &response);
        Ok(response)
    }

    fn url<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Url {
        self.base.join(path)
    }

    /// The server's time to the second, from an answer that needs no sign-in.
    pub(crate) async fn health_time(&self) -> Result<Timestamp> {
        let request = HttpRequest::new(Method::GET, self.url(["api", "health"]));
        let response = self.send(request, None).await?;
        if response.status != StatusCode::OK {
            return Err(Refusal::of(&response).error(&response));
        }
        response.date().ok_or_else(|| {
            SyncError::new(ErrorKind::Malformed, "the server does not tell its time").with_adapter(ADAPTER)
        })
    }
}

/// The client in the name of one user, for the time of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'c> {
    pub(crate) client: &'c Client,
    pub(crate) credentials: Option<&'c Credentials>,
}

impl Caller<'_> {
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse> {
        self.client.send(request, self.credentials).await
    }

    /// Makes sure that the server takes these credentials.
    ///
    /// An expired token makes lists empty and records disappear, without a word. So before absence is believed,
    /// and before a refusal without a reason is, the one call is made that answers 401.
    pub(crate) async fn ensure_signed_in(&self) -> Result<()> {
        let Some(credentials) = self.credentials else {
            return Ok(());
        };
        let collection = auth_collection_of(credentials);
        let url = self
            .client
            .url(["api", "collections", &collection, "auth-refresh"]);
        let response = self.send(HttpRequest::new(Method::POST, url)).await?;
        match response.status.as_u16() {
            200 => Ok(()),
            401 | 403 | 404 => Err(SyncError::new(
                ErrorKind::Unauthenticated,
                "the server does not accept the token any more",
            )
            .with_adapter(ADAPTER)),
            _ => Err(Refusal::of(&response).error(&response)),
        }
    }

    /// The error of a refused read, after making sure that the sign-in is not what is wrong.
    async fn refused(&self, response: &HttpResponse) -> SyncError {
        let may_be_sign_in = matches!(response.status.as_u16(), 400 | 401 | 403 | 404);
        if may_be_sign_in && let Err(error) = self.ensure_signed_in().await {
            return error;
        }
        Refusal::of(response).error(response)
    }

    /// One page of a collection's records.
    pub(crate) async fn list(&self, table: &str, query: &ListQuery<'_>) -> Result<Page> {
        let per_page = query.per_page.clamp(1, LARGEST_PAGE).to_string();
        let mut pairs = vec![("perPage", per_page.as_str())];
        let named = [
            ("filter", query.filter),
            ("sort", query.sort),
            ("fields", query.fields),
        ];
        pairs.extend(named.into_iter().filter(|(_, value)| !value.is_empty()));
        if !query.count {
            pairs.push(("skipTotal", "1"));
        }
        let url = self.client.url(["api", "collections", table, "records"]);
        let request = HttpRequest::new(Method::GET, url).with_query(pairs);
        let started = self.client.server_clock.start();
        let response = self.send(request).await?;
        let took = self.client.server_clock.start().saturating_sub(started);
        if response.status != StatusCode::OK {
            let error = self.refused(&response).await;
            return Err(error.with_operation("list"));
        }
        let mut page: Page = response.json().map_err(|error| error.with_adapter(ADAPTER))?;
        // The server dates its answer, which it made within this time.
        page.asked_at = response.date().map(|date| {
            let micros = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
            date.plus_micros(micros.saturating_neg())
        });
        Ok(page)
    }

    /// As [`Caller::list`], with fewer rows if that many are more bytes than the transport takes. The page tells
    /// its size.
    pub(crate) async fn list_fitting(&self, table: &str, query: &ListQuery<'_>) -> Result<Page> {
        let mut query = *query;
        query.per_page = query.per_page.clamp(1, LARGEST_PAGE);
        loop {
            match self.list(table, &query).await {
                Err(error) if error.retry() == RetryClass::Shrink && query.per_page > 1 => {
                    query.per_page /= 2;
                }
                page => return page,
            }
        }
    }

    /// One record by its id; `None` if it is not there, or not for this client, or the client is not signed in.
    pub(crate) async fn record(&self, table: &str, id: &str, fields: &str) -> Result<Option<HttpResponse>> {
        let url = self.client.url(["api", "collections", table, "records", id]);
        let mut request = HttpRequest::new(Method::GET, url);
        if !fields.is_empty() {
            request = request.with_query([("fields", fields)]);
        }
        let response = self.send(request).await?;
        match response.status.as_u16() {
            200 => Ok(Some(response)),
            404 => Ok(None),
            _ => Err(self.refused(&response).await),
        }
    }

    /// The view of a feed. `None` if there is none, or the client is not signed in.
    pub(crate) async fn meta(&self, view: &str) -> Result<Option<Meta>> {
        match self.record(view, "meta", "").await? {
            Some(response) => response
                .json()
                .map(Some)
                .map_err(|error| error.with_adapter(ADAPTER)),
            None => Ok(None),
        }
    }

    /// Sends requests that take effect together or not at all.
    ///
    /// # Errors
    /// The outer ones leave the outcome open, or are about the whole connection.
    pub(crate) async fn batch(
        &self,
        requests: &[&BatchRequest],
    ) -> Result<std::result::Result<Vec<BatchAnswer>, BatchRefusal>> {
        let url = self.client.url(["api", "batch"]);
        let request = HttpRequest::new(Method::POST, url).with_json(&Batch { requests })?;
        let response = self.send(request).await?;
        if response.status != StatusCode::OK {
            return Ok(Err(batch_refusal(&response)));
        }
        let answers: Vec<BatchAnswer> = response.json().map_err(|error| error.with_adapter(ADAPTER))?;
        if answers.len() == requests.len() {
            return Ok(Ok(answers));
        }
        let message = format!(
            "{} requests were sent, {} answers came",
            requests.len(),
            answers.len()
        );
        Err(SyncError::new(ErrorKind::Malformed, message).with_adapter(ADAPTER))
    }

    /// Sends one write by itself. The path begins with `/api/`, as in a batch.
    pub(crate) async fn single(
        &self,
        request: &BatchRequest,
    ) -> Result<std::result::Result<Option<JsonObject>, Refusal>> {
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|error| SyncError::malformed("method", error))?;
        let (path, query) = request.url.split_once('?').unwrap_or((request.url.as_str(), ""));
        let mut url = self.client.url(std::iter::empty());
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}{path}"));
        url.set_query((!query.is_empty()).then_some(query));
        let mut outgoing = HttpRequest::new(method, url);
        if let Some(body) = &request.body {
            outgoing = outgoing.with_json(body)?;
        }
        let response = self.send(outgoing).await?;
        match response.status.as_u16() {
            200 => Ok(Ok(Some(
                response.json().map_err(|error| error.with_adapter(ADAPTER))?,
            ))),
            204 => Ok(Ok(None)),
            429 | 500..=599 => Err(Refusal::of(&response).error(&response)),
            _ => Ok(Err(Refusal::of(&response))),
        }
    }

    /// Sends a body to a path and expects no content.
    pub(crate) async fn post(&self, path: [&str; 2], body: &impl Serialize) -> Result<HttpResponse> {
        let request = HttpRequest::new(Method::POST, self.client.url(path)).with_json(body)?;
        self.send(request).await
    }
}

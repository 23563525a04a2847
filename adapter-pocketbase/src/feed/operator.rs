//! Calls in the name of a superuser.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sync_core::{ErrorKind, Result, SyncError};
use sync_http::{BaseUrl, HttpRequest, HttpResponse, Method, Secret, Transport, error_for_status, header};

/// Numbering the rows of a large collection takes its time.
const DEADLINE: Duration = Duration::from_secs(120);

/// A superuser's access to a server, for setting up the feed.
#[derive(Clone, Debug)]
pub struct Operator {
    transport: Arc<dyn Transport>,
    base: BaseUrl,
    token: Secret,
}

impl Operator {
    /// An operator with a superuser's token.
    ///
    /// # Errors
    /// `Configuration` if `url` is not the address of a server.
    pub fn with_token(transport: Arc<dyn Transport>, url: &str, token: Secret) -> Result<Self> {
        Ok(Self {
            transport,
            base: BaseUrl::parse(url)?,
            token,
        })
    }

    /// Signs a superuser in.
    ///
    /// # Errors
    /// `Unauthenticated` if the password is wrong; those of the transport.
    ///
    /// # Cancel safety
    /// Nothing is left behind if it is dropped.
    pub async fn sign_in(
        transport: Arc<dyn Transport>,
        url: &str,
        email: &str,
        password: &Secret,
    ) -> Result<Self> {
        let mut operator = Self::with_token(transport, url, Secret::new(""))?;
        let path = ["api", "collections", "_superusers", "auth-with-password"];
        let body = json!({"identity": email, "password": password.reveal()});
        let response = operator.request(Method::POST, &path, Some(&body)).await?;
        // A wrong password is a 400 here.
        if response.status.is_client_error() {
            let message = "the superuser's e-mail address or password is wrong";
            return Err(SyncError::new(ErrorKind::Unauthenticated, message));
        }
        let answer: Value = succeeded(&response)?;
        let token = answer["token"].as_str().unwrap_or_default();
        operator.token = Secret::new(token);
        Ok(operator)
    }

    /// The superuser's token.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// Makes collections, or changes those that are there: fields that are not named stay, as do other collections.
    ///
    /// # Errors
    /// `Configuration` with what the server says is wrong with them; `Forbidden` or `Unauthenticated` if the operator
    /// is no superuser; those of the transport.
    ///
    /// # Cancel safety
    /// If dropped, all of it has happened or nothing.
    pub async fn import(&self, collections: Vec<Value>) -> Result<()> {
        let body = json!({"collections": collections, "deleteMissing": false});
        let path = ["api", "collections", "import"];
        self.send(Method::PUT, &path, &body).await
    }

    async fn request(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<HttpResponse> {
        let url = self.base.join(path.iter().copied());
        let mut request = HttpRequest::new(method, url).with_deadline(DEADLINE);
        if !self.token.is_empty() {
            request = request.with_secret_header(header::AUTHORIZATION, "", &self.token)?;
        }
        if let Some(body) = body {
            request = request.with_json(body)?;
        }
        Ok(self.transport.send(request).await?)
    }

    /// What the server holds at this path; `None` if there is nothing.
    pub(super) async fn find(&self, path: &[&str]) -> Result<Option<Value>> {
        let response = self.request(Method::GET, path, None).await?;
        match response.status.as_u16() {
            404 => Ok(None),
            _ => succeeded(&response).map(Some),
        }
    }

    /// Sends a body that must be accepted.
    pub(super) async fn send(&self, method: Method, path: &[&str], body: &Value) -> Result<()> {
        let response = self.request(method, path, Some(body)).await?;
        accepted(&response)
    }

    /// Removes what is at this path, if it is there.
    pub(super) async fn remove(&self, path: &[&str]) -> Result<()> {
        let response = self.request(Method::DELETE, path, None).await?;
        match response.status.as_u16() {
            404 => Ok(()),
            _ => accepted(&response),
        }
    }

    /// Runs SQL statements in one transaction, and gives the rows of the last, each a list of texts.
    ///
    /// # Errors
    /// `Configuration` with SQLite's message; `Unsupported` if the server has no SQL endpoint; those of
    /// [`Operator::import`].
    ///
    /// # Cancel safety
    /// As [`Operator::import`].
    pub async fn sql(&self, statements: &str) -> Result<Vec<Value>> {
        let body = json!({ "query": statements });
        let response = self.request(Method::POST, &["api", "sql"], Some(&body)).await?;
        if response.status.as_u16() == 404 {
            let why =
                "this PocketBase has no SQL endpoint (0.39 has); install the feed with a migration file";
            return Err(SyncError::unsupported("setup", why));
        }
        let answer: Value = succeeded(&response)?;
        Ok(answer["rows"].as_array().cloned().unwrap_or_default())
    }
}

fn accepted(response: &HttpResponse) -> Result<()> {
    if response.status.is_success() {
        return Ok(());
    }
    Err(refused(response))
}

fn succeeded(response: &HttpResponse) -> Result<Value> {
    accepted(response)?;
    response.json()
}

/// The error for an answer to a superuser, with all that the server says: it says what to change.
fn refused(response: &HttpResponse) -> SyncError {
    let status = error_for_status(response);
    let text: String = String::from_utf8_lossy(&response.body)
        .chars()
        .take(1_000)
        .collect();
    let kind = match status.kind() {
        ErrorKind::Invalid => ErrorKind::Configuration,
        kind => kind,
    };
    SyncError::new(kind, format!("the server answered {}: {text}", response.status))
        .with_adapter("pocketbase")
}

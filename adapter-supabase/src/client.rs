//! Requests to the project: how they are made, signed, refused and read.

use std::{sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use sync_core::{Effects, ErrorKind, JsonObject, Result, RetryClass, SyncError};
use sync_http::{
    BaseUrl, Credentials, HeaderName, HttpRequest, HttpResponse, Method, Secret, ServerClock, TokenSource,
    Transport, header, with_credentials,
};

use crate::{
    config::{PUBLIC, SupabaseConfig, refused},
    error::{ADAPTER, codes, error_of},
    key::ApiKey,
};

pub(crate) const API_KEY: HeaderName = HeaderName::from_static("apikey");
pub(crate) const CLIENT_INFO: HeaderName = HeaderName::from_static("x-client-info");
/// The name of this client in the project's logs.
pub(crate) const CLIENT_NAME: &str = concat!("adapter-supabase/", env!("CARGO_PKG_VERSION"));
const PREFER: HeaderName = HeaderName::from_static("prefer");
const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");

/// The first pause before a function that is not known is asked for again; each later one is twice as long.
const FIRST_SCHEMA_PAUSE: Duration = Duration::from_millis(250);

/// One request of the data API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(String, String)>,
    prefer: Vec<String>,
    body: Option<Vec<u8>>,
    schema: Option<&'static str>,
}

impl Call {
    /// A request about the rows of a table or view in the schema of the configuration.
    pub(crate) fn table(method: Method, table: &str) -> Self {
        Self {
            method,
            path: vec!["rest".to_owned(), "v1".to_owned(), table.to_owned()],
            query: Vec::new(),
            prefer: Vec::new(),
            body: None,
            schema: None,
        }
    }

    /// A call of a function in the schema `public`.
    fn function(name: &str) -> Self {
        let mut call = Self::table(Method::POST, "rpc");
        call.path.push(name.to_owned());
        call.schema = Some(PUBLIC);
        call
    }

    /// Adds a query pair; both sides are percent-encoded.
    pub(crate) fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Adds a preference: `count=exact`, `return=representation`.
    pub(crate) fn prefer(mut self, preference: impl Into<String>) -> Self {
        self.prefer.push(preference.into());
        self
    }

    /// Sets the body.
    ///
    /// # Errors
    /// `Invalid` if it cannot be written as JSON.
    pub(crate) fn body(mut self, body: &(impl Serialize + ?Sized)) -> Result<Self> {
        let bytes = serde_json::to_vec(body)
            .map_err(|error| SyncError::invalid("body", error.to_string()).with_source(error))?;
        self.body = Some(bytes);
        Ok(self)
    }
}

/// Rows that the data API answered.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<JsonObject>,
    /// How many rows there are in all, if `count=exact` was preferred.
    pub(crate) total: Option<u64>,
}

/// The connection to one project, in the name of whoever is signed in.
#[derive(Debug)]
pub(crate) struct Client {
    base: BaseUrl,
    key: ApiKey,
    schema: String,
    transport: Arc<dyn Transport>,
    tokens: Option<Arc<dyn TokenSource>>,
    effects: Effects,
    server_clock: ServerClock,
    deadline: Duration,
    schema_patience: Duration,
}

impl Client {
    pub(crate) fn new(config: &SupabaseConfig, transport: Arc<dyn Transport>) -> Self {
        Self {
            base: config.url.clone(),
            key: config.key.clone(),
            schema: config.schema.clone(),
            transport,
            tokens: config.tokens.clone(),
            effects: config.effects.clone(),
            server_clock: ServerClock::new(Arc::clone(&config.effects.clock)),
            deadline: config.options.deadline,
            schema_patience: config.options.schema_patience,
        }
    }

    /// The project's clock, as measured from its answers.
    pub(crate) fn server_clock(&self) -> &ServerClock {
        &self.server_clock
    }

    /// Whoever is signed in, by the id in the token; `None` if requests have the rights of the key alone.
    ///
    /// # Errors
    /// `Unauthenticated` if someone should be signed in and nobody is: he would see less, and not be told.
    pub(crate) async fn user(&self) -> Result<Option<String>> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        match tokens.credentials().await? {
            Some(credentials) => Ok(credentials.subject),
            None => {
                Err(SyncError::new(ErrorKind::Unauthenticated, "nobody is signed in").with_adapter(ADAPTER))
            }
        }
    }

    /// Sends a request with the token of whoever is signed in, which is renewed once if it is refused. The answer is
    /// one of success.
    ///
    /// # Errors
    /// Those of the transport and of the sign-in, and [`error_of`] the answer.
    pub(crate) async fn send(&self, call: &Call) -> Result<HttpResponse> {
        match &self.tokens {
            None => self.attempt(call, None).await,
            Some(tokens) => {
                with_credentials(&**tokens, |credentials| async move {
                    self.attempt(call, credentials.as_ref()).await
                })
                .await
            }
        }
        .map_err(|error| error.with_adapter(ADAPTER))
    }

    /// The rows that a request answers with.
    ///
    /// # Errors
    /// As [`Client::send`]; `Malformed`, to be tried again, if the answer is damaged.
    pub(crate) async fn rows(&self, call: &Call) -> Result<Rows> {
        let response = self.send(call).await?;
        Ok(Rows {
            rows: read_json(&response)?,
            total: total_of(&response),
        })
    }

    /// Calls a function that must be there. While the data API does not know it, as for some time after a migration,
    /// it is asked again.
    ///
    /// # Errors
    /// As [`Client::call_once`]; `Configuration` naming the migration if the function stays unknown.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        function: &str,
        arguments: &(impl Serialize + ?Sized + Sync),
    ) -> Result<T> {
        let started = self.effects.clock.monotonic();
        let mut pause = FIRST_SCHEMA_PAUSE;
        loop {
            match self.call_once(function, arguments).await {
                Err(error) if error.code() == Some(codes::UNKNOWN_FUNCTION) => {
                    let waited = self.effects.clock.monotonic().saturating_sub(started);
                    if waited + pause > self.schema_patience {
                        return Err(no_feed(function).with_source(error));
                    }
                    tracing::info!(function, "the data API does not know the function yet");
                    self.effects.timer.sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
    }

    /// Calls a function.
    ///
    /// # Errors
    /// As [`Client::send`]; `Malformed`, to be tried again, if the answer is damaged.
    pub(crate) async fn call_once<T: DeserializeOwned>(
        &self,
        function: &str,
        arguments: &(impl Serialize + ?Sized + Sync),
    ) -> Result<T> {
        let call = Call::function(function).body(arguments)?;
        read_json(&self.send(&call).await?)
    }

    async fn attempt(&self, call: &Call, credentials: Option<&Credentials>) -> Result<HttpResponse> {
        let token = credentials.map(|credentials| &credentials.access);
        let token = token.or_else(|| self.key.authorization_when_signed_out());
        let request = self.request(call, token)?;
        let started = self.server_clock.start();
        let response = self.transport.send(request).await?;
        self.server_clock.observe(started, &response);
        if response.status.is_success() {
            Ok(response)
        } else {
            Err(error_of(&response))
        }
    }

    fn request(&self, call: &Call, token: Option<&Secret>) -> Result<HttpRequest> {
        let url = self.base.join(call.path.iter().map(String::as_str));
        let pairs = call
            .query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut request = HttpRequest::new(call.method.clone(), url).with_query(pairs);
        // Not every server reads `+` as a space; a plus itself is escaped by now.
        let query = request.url.query().map(|query| query.replace('+', "%20"));
        request.url.set_query(query.as_deref());
        let mut request = request
            .with_deadline(self.deadline)
            .with_header(CLIENT_INFO, CLIENT_NAME)?
            .with_secret_header(API_KEY, "", self.key.secret())?;
        if let Some(token) = token {
            request = request.with_secret_header(header::AUTHORIZATION, "Bearer ", token)?;
        }
        if self.schema != PUBLIC {
            let profile = match call.method {
                Method::GET | Method::HEAD => ACCEPT_PROFILE,
                _ => CONTENT_PROFILE,
            };
            request = request.with_header(profile, call.schema.unwrap_or(&self.schema))?;
        }
        if !call.prefer.is_empty() {
            request = request.with_header(PREFER, &call.prefer.join(","))?;
        }
        if let Some(body) = &call.body {
            request = request.with_header(header::CONTENT_TYPE, "application/json")?;
            request.body = body.clone().into();
        }
        Ok(request)
    }
}

/// The body as JSON. One that is damaged was cut on the way, so the same is asked again.
pub(crate) fn read_json<T: DeserializeOwned>(response: &HttpResponse) -> Result<T> {
    response
        .json()
        .map_err(|error| error.with_retry(RetryClass::Backoff).with_adapter(ADAPTER))
}

/// The number behind the slash of `Content-Range`.
fn total_of(response: &HttpResponse) -> Option<u64> {
    let (_, total) = response.header("content-range")?.rsplit_once('/')?;
    total.parse().ok()
}

fn no_feed(function: &str) -> SyncError {
    let why = format!(
        "the project has no function `{function}`: run the feed's migration, which `adapter_supabase::migration` \
         writes, or have the data API reload its schema"
    );
    refused("migration", why).with_code(codes::UNKNOWN_FUNCTION)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sync_http::{
        FixedToken,
        testing::{ScriptedAnswer, ScriptedTransport},
    };

    use super::*;

    /// The headers of a request for rows and of a call of a function.
    async fn sent(configure: impl Fn(SupabaseConfig) -> SupabaseConfig, key: &str) -> [HttpRequest; 2] {
        let transport = ScriptedTransport::new();
        transport
            .then(ScriptedAnswer::json(200, "[]").with_header("content-range", "*/7"))
            .then(ScriptedAnswer::json(200, "{}"));
        let config =
            SupabaseConfig::new("https://example.com/p", ApiKey::new(key), Effects::tokio()).unwrap();
        let client = Client::new(&configure(config), Arc::new(transport.clone()));
        let call = Call::table(Method::GET, "a b")
            .query("id", "eq.1+1")
            .prefer("count=exact");
        assert_eq!(client.rows(&call).await.unwrap().total, Some(7));
        client.call_once::<Value>("f", &json!({"p": 1})).await.unwrap();
        transport.requests().try_into().unwrap()
    }

    fn header<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
        request.headers.get(name)?.to_str().ok()
    }

    #[tokio::test]
    async fn a_schema_is_named_in_every_request_unless_it_is_public() {
        let [rows, call] = sent(|config| config.with_schema("app"), "sb_publishable_x").await;
        assert_eq!(
            rows.url.as_str(),
            "https://example.com/p/rest/v1/a%20b?id=eq.1%2B1"
        );
        assert_eq!(
            (header(&rows, "accept-profile"), header(&rows, "prefer")),
            (Some("app"), Some("count=exact"))
        );
        // The feed's functions are in `public`, wherever the tables are.
        assert_eq!(header(&call, "content-profile"), Some("public"));
        for request in sent(|config| config, "sb_publishable_x").await {
            assert_eq!(
                header(&request, "accept-profile").or(header(&request, "content-profile")),
                None
            );
        }
    }

    #[tokio::test]
    async fn the_key_and_the_token_go_apart_and_are_shown_nowhere() {
        let tokens = Arc::new(FixedToken::new(Credentials::new("the-token")));
        for request in sent(|config| config.signed_in(tokens.clone()), "sb_publishable_x").await {
            assert_eq!(header(&request, "apikey"), Some("sb_publishable_x"));
            assert_eq!(header(&request, "authorization"), Some("Bearer the-token"));
            let shown = format!("{request:?}");
            assert!(!shown.contains("sb_") && !shown.contains("the-token"), "{shown}");
        }
        for request in sent(|config| config, "sb_secret_x").await {
            assert_eq!(header(&request, "authorization"), None);
        }
        // Claims {"role":"service_role"}.
        let old = "e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln";
        for request in sent(|config| config, old).await {
            assert_eq!(
                header(&request, "authorization"),
                Some(format!("Bearer {old}").as_str())
            );
        }
    }
}

//! A PocketBase with the sync feed: a private one that ends with the program, or the user's own.

use std::sync::Arc;

use adapter_pocketbase::{
    CollectionMapping, PocketBaseConfig, PocketBaseRemoteStore,
    feed::{FeedNames, FeedOptions, Operator, setup},
};
use async_trait::async_trait;
use pocketbase_server::Server;
use serde_json::{Value, json};
use sync_core::{Effects, ErrorKind, RemoteStore, SyncError, Target};
use sync_http::{Credentials, FixedToken, HttpRequest, Secret, Transport};

use super::{
    Backend, Connection,
    meeting::{Meeting, NAME, own_secret},
};
use crate::{arguments::Arguments, deliveries::Deliveries, failure::Failure};

/// What a private server accepts in one batch, and for how many seconds.
const BATCH_LIMITS: (u32, u32) = (200, 10);

/// A prepared server.
pub(crate) struct PocketBase {
    /// `None` if it is the user's own.
    private: Option<Server>,
    url: String,
    token: Secret,
    meeting: Meeting,
    observer: Arc<dyn RemoteStore>,
    operator: Operator,
    effects_before: u64,
}

impl PocketBase {
    pub(crate) async fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let meeting = Meeting::new(ops_in)?;
        let (private, url, user, password) = match (&arguments.remote_url, &arguments.remote_user) {
            (Some(url), Some(user)) => {
                let password = own_secret("--remote-user needs its password")?;
                (None, url.clone(), user.clone(), password)
            }
            _ => {
                let server = private_server()
                    .await
                    .map_err(|error| Failure::Usage(error.to_string()))?;
                let (user, password) = server.superuser();
                let (url, user, password) = (server.url().to_owned(), user.to_owned(), Secret::new(password));
                (Some(server), url, user, password)
            }
        };
        let operator = Operator::sign_in(meeting.good_network(), &url, &user, &password).await?;
        operator.import(vec![collection()]).await?;
        setup(&operator, &feed_options()?).await?;
        let token = operator.token().clone();
        let observer = connect(&url, &token, meeting.good_network()).await?;
        Ok(Self {
            private,
            url,
            token,
            meeting,
            observer,
            effects_before: count(&operator, &effects_query()).await?,
            operator,
        })
    }
}

/// Starts a server that nobody else knows of.
async fn private_server() -> Result<Server, pocketbase_server::ServerError> {
    let server = Server::start().await?;
    server
        .admin()
        .enable_batches(BATCH_LIMITS.0, BATCH_LIMITS.1)
        .await?;
    Ok(server)
}

fn feed_options() -> Result<FeedOptions, Failure> {
    Ok(FeedOptions::new(NAME)?
        .with_scope_field("run")?
        .with_copied_field("record_id")?)
}

/// Records with any fields are kept as JSON text; only superusers see them.
fn collection() -> Value {
    json!({
        "name": NAME,
        "type": "base",
        "fields": [
            {"name": "doc", "type": "text", "max": 1_000_000},
            {"name": "record_id", "type": "text", "max": 600},
            {"name": "run", "type": "text"},
            {"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true},
        ],
    })
}

async fn connect(
    url: &str,
    token: &Secret,
    transport: Arc<dyn Transport>,
) -> Result<Arc<dyn RemoteStore>, Failure> {
    let mapping = CollectionMapping::document(NAME, "doc")
        .with_derived_ids("record_id")
        .with_scope_field("run", "run");
    let config = PocketBaseConfig::new(url)?
        .with_collection(mapping)
        .require_feed();
    let tokens = Arc::new(FixedToken::new(Credentials::from_jwt(token.clone())));
    let remote = PocketBaseRemoteStore::connect(config, transport, tokens, Effects::tokio()).await?;
    Ok(Arc::new(remote))
}

#[async_trait]
impl Backend for PocketBase {
    fn introduction(&self) -> Option<String> {
        Some(match self.private {
            Some(_) => format!("a private PocketBase with the sync feed listens on {}", self.url),
            None => format!(
                "the records go to the collection {NAME} of {}, and stay there under the run {}",
                self.url,
                self.meeting.run()
            ),
        })
    }

    fn target(&self) -> &Target {
        self.meeting.target()
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let network = self.meeting.device_network();
        let remote = connect(&self.url, &self.token, network.clone()).await?;
        Ok(Connection { remote, network })
    }

    fn observer(&self) -> Arc<dyn RemoteStore> {
        Arc::clone(&self.observer)
    }

    /// The feed takes a number for each effect, and keeps the id of each operation once: what there are more numbers
    /// than ids, took effect again.
    async fn deliveries(&self) -> Result<Deliveries, Failure> {
        let effects = count(&self.operator, &effects_query()).await? - self.effects_before;
        let ops = FeedNames::of_collection(NAME).ops();
        let query = format!(
            "SELECT COUNT(*) FROM {ops} WHERE seq > 0 AND run = '{}'",
            self.meeting.run()
        );
        let logged = count(&self.operator, &query).await?;
        Ok(Deliveries {
            repeated: self.meeting.repeated(),
            repeated_effects: effects.saturating_sub(logged),
        })
    }
}

/// How many numbers the feed has given out.
fn effects_query() -> String {
    format!("SELECT seq FROM {}", FeedNames::of_collection(NAME).meta())
}

/// The number that a query tells.
async fn count(operator: &Operator, query: &str) -> Result<u64, Failure> {
    let rows = operator.sql(query).await?;
    let number = rows.first().and_then(|row| row[0].as_str()?.parse().ok());
    number.ok_or_else(|| {
        let message = format!("no number was answered to {query}");
        Failure::Sync(SyncError::new(ErrorKind::Malformed, message))
    })
}

/// The operations in a batch: the feed takes their ids with the rows.
fn ops_in(request: &HttpRequest) -> Vec<String> {
    let ops = FeedNames::of_collection(NAME).ops();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let requests = body["requests"].as_array().cloned().unwrap_or_default();
    requests
        .iter()
        .filter_map(|request| {
            let is_intent = request["url"].as_str().is_some_and(|url| url.contains(&ops));
            let op = if is_intent {
                &request["body"]["id"]
            } else {
                &request["body"]["sync_op"]
            };
            op.as_str().map(str::to_owned)
        })
        .collect()
}

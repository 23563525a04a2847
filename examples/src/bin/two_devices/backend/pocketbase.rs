//! A PocketBase with the sync feed: a private one that ends with the program, or the user's own.

use std::sync::Arc;

use adapter_pocketbase::{
    CollectionMapping, PocketBaseConfig, PocketBaseRemoteStore,
    feed::{FeedNames, FeedOptions, Operator, setup},
};
use async_trait::async_trait;
use pocketbase_server::Server;
use serde_json::{Value, json};
use sync_core::{CollectionName, Effects, ErrorKind, RemoteStore, SyncError, SyncScope, Target, TokioTimer};
use sync_http::{Credentials, FixedToken, HttpRequest, ReqwestTransport, Secret, Transport};

use super::{Backend, Connection, bad_network::Networks};
use crate::{arguments::Arguments, deliveries::Deliveries, failure::Failure};

/// The collection that the program makes on the server.
const COLLECTION: &str = "two_devices";
/// The environment variable with the password of `--remote-user`.
const PASSWORD_VARIABLE: &str = "REMOTE_PASSWORD";
/// What a private server accepts in one batch, and for how many seconds.
const BATCH_LIMITS: (u32, u32) = (200, 10);

/// A prepared server.
pub(crate) struct PocketBase {
    /// `None` if it is the user's own.
    private: Option<Server>,
    url: String,
    token: Secret,
    good: Arc<dyn Transport>,
    networks: Networks,
    observer: Arc<dyn RemoteStore>,
    target: Target,
    run: String,
    operator: Operator,
    effects_before: u64,
}

impl PocketBase {
    pub(crate) async fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let effects = Effects::tokio();
        let good: Arc<dyn Transport> = Arc::new(ReqwestTransport::new(Arc::new(TokioTimer))?);
        let (private, url, user, password) = match (&arguments.remote_url, &arguments.remote_user) {
            (Some(url), Some(user)) => (None, url.clone(), user.clone(), own_password()?),
            _ => {
                let server = private_server()
                    .await
                    .map_err(|error| Failure::Usage(error.to_string()))?;
                let (user, password) = server.superuser();
                let (url, user, password) = (server.url().to_owned(), user.to_owned(), Secret::new(password));
                (Some(server), url, user, password)
            }
        };
        let operator = Operator::sign_in(Arc::clone(&good), &url, &user, &password).await?;
        operator.import(vec![collection()]).await?;
        setup(&operator, &feed_options()?).await?;
        // Each run has a scope of its own, so that those of earlier runs do not meet it.
        let run = effects.new_uuid().to_string();
        let target = Target::new(
            CollectionName::new(COLLECTION)?,
            SyncScope::new("two_devices")?.with("run", &run)?,
        );
        let token = operator.token().clone();
        let observer = connect(&url, &token, Arc::clone(&good)).await?;
        Ok(Self {
            private,
            url,
            token,
            good,
            networks: Networks::new(ops_in),
            observer,
            target,
            run,
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

fn own_password() -> Result<Secret, Failure> {
    std::env::var(PASSWORD_VARIABLE).map(Secret::new).map_err(|_| {
        let message =
            format!("--remote-user needs its password in the environment variable {PASSWORD_VARIABLE}");
        Failure::Usage(message)
    })
}

fn feed_options() -> Result<FeedOptions, Failure> {
    Ok(FeedOptions::new(COLLECTION)?
        .with_scope_field("run")?
        .with_copied_field("record_id")?)
}

/// Records with any fields are kept as JSON text; only superusers see them.
fn collection() -> Value {
    json!({
        "name": COLLECTION,
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
    let mapping = CollectionMapping::document(COLLECTION, "doc")
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
                "the records go to the collection {COLLECTION} of {}, and stay there under the run {}",
                self.url, self.run
            ),
        })
    }

    fn target(&self) -> &Target {
        &self.target
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let network = self.networks.add(Arc::clone(&self.good));
        let transport: Arc<dyn Transport> = network.clone();
        Ok(Connection {
            remote: connect(&self.url, &self.token, transport).await?,
            network,
        })
    }

    fn observer(&self) -> Arc<dyn RemoteStore> {
        Arc::clone(&self.observer)
    }

    /// The feed takes a number for each effect, and keeps the id of each operation once: what there are more numbers
    /// than ids, took effect again.
    async fn deliveries(&self) -> Result<Deliveries, Failure> {
        let effects = count(&self.operator, &effects_query()).await? - self.effects_before;
        let ops = FeedNames::of_collection(COLLECTION).ops();
        let query = format!(
            "SELECT COUNT(*) FROM {ops} WHERE seq > 0 AND run = '{}'",
            self.run
        );
        let logged = count(&self.operator, &query).await?;
        Ok(Deliveries {
            repeated: self.networks.repeated(),
            repeated_effects: effects.saturating_sub(logged),
        })
    }
}

/// How many numbers the feed has given out.
fn effects_query() -> String {
    format!("SELECT seq FROM {}", FeedNames::of_collection(COLLECTION).meta())
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
    let ops = FeedNames::of_collection(COLLECTION).ops();
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

//! A Supabase project with the change feed: a local stack that ends with the program, or the user's own.

mod documents;

use std::sync::Arc;

use adapter_supabase::{
    ApiKey, Mode, SupabaseConfig, SupabaseRemoteStore,
    migration::{FeedMigration, FeedTable, ScopeRule},
};
use async_trait::async_trait;
use serde_json::Value;
use supabase_stack::{PostgresVersion, Stack};
use sync_core::{Effects, ErrorKind, RemoteStore, SyncError, Target};
use sync_http::{BaseUrl, HeaderName, HttpRequest, Method, Secret, Transport, error_for_status, header};

use super::{
    Backend, Connection,
    meeting::{Meeting, NAME, own_secret},
};
use crate::{arguments::Arguments, deliveries::Deliveries, failure::Failure};
use documents::Documents;

/// The column with a whole record.
const DOCUMENT: &str = "doc";
/// Records with any fields are kept as JSON text. Nobody but the service role sees them.
const TABLE: &str = "
create table if not exists public.two_devices (id text primary key, run text not null, doc text);
alter table public.two_devices enable row level security;
";

/// A project with the table.
pub(crate) struct Supabase {
    /// `None` if it is the user's own.
    private: Option<Stack>,
    url: String,
    key: ApiKey,
    meeting: Meeting,
    observer: Arc<dyn RemoteStore>,
}

impl Supabase {
    pub(crate) async fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let meeting = Meeting::new(ops_in)?;
        let (private, url, secret) = match &arguments.remote_url {
            Some(url) => {
                let secret = own_secret("--remote-url needs the secret key")?;
                (None, url.clone(), secret)
            }
            None => {
                let sql = migration()?;
                let stack = Stack::start(PostgresVersion::V15, &[&sql]).await;
                let stack = stack.map_err(|error| Failure::Usage(error.to_string()))?;
                let (url, secret) = (stack.url(), Secret::new(stack.secret_key()));
                (Some(stack), url, secret)
            }
        };
        let key = ApiKey::new(secret.clone());
        let observer = match connect(&url, &key, meeting.run(), meeting.good_network()).await {
            Err(Failure::Sync(error)) if private.is_none() && error.kind() == ErrorKind::Configuration => {
                let sql = migration()?;
                let message = format!("{error}; run this in the project first:\n{sql}");
                return Err(Failure::Usage(message));
            }
            connected => connected?,
        };
        if private.is_none() {
            clear(&url, &secret, &*meeting.good_network()).await?;
        }
        Ok(Self {
            private,
            url,
            key,
            meeting,
            observer,
        })
    }
}

/// What the project needs: the table, and it in the feed.
fn migration() -> Result<String, Failure> {
    let table = FeedTable::new(NAME, ScopeRule::key(NAME, "run", "run")).columns(["run", DOCUMENT]);
    let feed = FeedMigration::new().table(table).to_sql()?;
    Ok(format!("{TABLE}\n{feed}"))
}

/// Takes out the records of earlier runs: they have the same ids.
async fn clear(url: &str, secret: &Secret, transport: &dyn Transport) -> Result<(), Failure> {
    let place = BaseUrl::parse(url)?.join(["rest", "v1", NAME]);
    let request = HttpRequest::new(Method::DELETE, place)
        .with_query([("id", "not.is.null")])
        .with_secret_header(HeaderName::from_static("apikey"), "", secret)?
        .with_secret_header(header::AUTHORIZATION, "Bearer ", secret)?;
    let answer = transport.send(request).await.map_err(SyncError::from)?;
    if answer.status.is_success() {
        return Ok(());
    }
    Err(Failure::Sync(error_for_status(&answer)))
}

async fn connect(
    url: &str,
    key: &ApiKey,
    run: &str,
    transport: Arc<dyn Transport>,
) -> Result<Arc<dyn RemoteStore>, Failure> {
    let config = SupabaseConfig::new(url, key.clone(), Effects::tokio())?
        .with_transport(transport)
        .require(Mode::Feed);
    let remote = SupabaseRemoteStore::connect(config).await?;
    Ok(Arc::new(Documents::new(
        Arc::new(remote),
        DOCUMENT,
        [("run".to_owned(), run.to_owned())],
    )))
}

#[async_trait]
impl Backend for Supabase {
    fn introduction(&self) -> Option<String> {
        Some(match self.private {
            Some(_) => format!(
                "a local Supabase stack with the sync feed listens on {}",
                self.url
            ),
            None => format!(
                "the records go to the table {NAME} of {}, in place of those of earlier runs, under the run {}",
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
        let remote = connect(&self.url, &self.key, self.meeting.run(), network.clone()).await?;
        Ok(Connection { remote, network })
    }

    fn observer(&self) -> Arc<dyn RemoteStore> {
        Arc::clone(&self.observer)
    }

    /// The feed takes a number for each effect, and keeps the id of each operation once: what there are more numbers
    /// than ids, took effect again. Only the owner of the database sees them.
    async fn deliveries(&self) -> Result<Deliveries, Failure> {
        let repeated_effects = match &self.private {
            None => 0,
            Some(stack) => {
                let counted = sqlx::query_scalar::<_, i64>(
                    "select (select coalesce(sum(seq), 0)::bigint from sync.scope)
                       - (select count(*) from sync.applied)",
                )
                .fetch_one(stack.pool())
                .await;
                let counted = counted.map_err(|error| {
                    SyncError::new(ErrorKind::Malformed, "no number was answered").with_source(error)
                })?;
                u64::try_from(counted).unwrap_or_default()
            }
        };
        Ok(Deliveries {
            repeated: self.meeting.repeated(),
            repeated_effects,
        })
    }
}

/// The operations in a push.
fn ops_in(request: &HttpRequest) -> Vec<String> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let ops = body["p_ops"].as_array().cloned().unwrap_or_default();
    ops.iter()
        .filter_map(|op| op["op"].as_str().map(str::to_owned))
        .collect()
}

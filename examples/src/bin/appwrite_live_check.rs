//! Runs the conformance suite of remotes on an Appwrite server of yours, and prints the certificate.
//!
//! ```text
//! APPWRITE_ENDPOINT=https://host/v1 APPWRITE_PROJECT=my-project APPWRITE_KEY=... appwrite_live_check
//! ```
//!
//! The key needs the scopes databases.write, tables.write, columns.write, rows.read and rows.write. The program makes
//! a database of its own, and deletes it at the end.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adapter_appwrite::{AppwriteConfig, AppwriteRemoteStore, Credential, Table};
use async_trait::async_trait;
use serde_json::{Value, json};
use sync_core::{
    CollectionName, Effects, ErrorKind, RecordId, RemoteStore, Result, SyncError, SyncScope, Target,
};
use sync_http::{BaseUrl, HttpRequest, ReqwestTransport, Secret, Transport, error_for_status};
use sync_testkit::remote_suite::{self, RemoteFixture};

/// How often, and how long apart, is looked whether the new columns can be used.
const LOOKS: u32 = 120;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

const COLLECTIONS: [&str; 2] = ["todos", "notes"];
const USERS: [&str; 2] = ["ada", "bob"];

/// The server to examine.
struct Server {
    endpoint: String,
    project: String,
    key: Secret,
    database: String,
    effects: Effects,
    transport: Arc<dyn Transport>,
}

impl Server {
    fn from_environment() -> Result<Self> {
        let variable = |name: &'static str| {
            std::env::var(name).map_err(|_| {
                SyncError::new(ErrorKind::Configuration, "is not set in the environment").with_field(name)
            })
        };
        let effects = Effects::tokio();
        Ok(Self {
            endpoint: variable("APPWRITE_ENDPOINT")?,
            project: variable("APPWRITE_PROJECT")?,
            key: Secret::new(variable("APPWRITE_KEY")?),
            database: format!("live-check-{:08x}", effects.random.next_u64() >> 32),
            transport: Arc::new(ReqwestTransport::new(Arc::clone(&effects.timer))?),
            effects,
        })
    }

    async fn call(&self, method: &str, path: &[&str], body: Value) -> Result<()> {
        let method = http::Method::from_bytes(method.as_bytes())
            .map_err(|error| SyncError::invalid("method", error.to_string()))?;
        let request = HttpRequest::new(method, BaseUrl::parse(&self.endpoint)?.join(path.iter().copied()))
            .with_header(http::HeaderName::from_static("x-appwrite-project"), &self.project)?
            .with_secret_header(http::HeaderName::from_static("x-appwrite-key"), "", &self.key)?
            .with_json(&body)?;
        let response = self.transport.send(request).await?;
        if response.status.is_success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&response.body).into_owned();
        Err(SyncError::new(error_for_status(&response).kind(), told).with_operation("set up"))
    }

    /// Makes the database with its tables, and waits until the columns can be used.
    async fn set_up(&self) -> Result<()> {
        let database = self.database.as_str();
        self.call(
            "POST",
            &["tablesdb"],
            json!({"databaseId": database, "name": database}),
        )
        .await?;
        for table in COLLECTIONS
            .iter()
            .flat_map(|name| USERS.iter().map(move |user| table_of(name, user)))
        {
            let tables = ["tablesdb", database, "tables"];
            let made = json!({"tableId": table, "name": table, "permissions": [], "rowSecurity": false});
            self.call("POST", &tables, made).await?;
            let columns = ["tablesdb", database, "tables", &table, "columns"];
            for (kind, column) in columns_of_the_suite() {
                let path: Vec<&str> = columns.iter().copied().chain([kind]).collect();
                self.call("POST", &path, column).await?;
            }
        }
        let remote = self.connect()?;
        for _ in 0..LOOKS {
            match remote.check().await {
                Err(error) if error.kind() == ErrorKind::Configuration => {}
                answer => return answer,
            }
            self.effects.timer.sleep(BETWEEN_LOOKS).await;
        }
        remote.check().await
    }

    async fn tear_down(&self) -> Result<()> {
        self.call("DELETE", &["tablesdb", &self.database], json!({}))
            .await
    }

    fn connect(&self) -> Result<AppwriteRemoteStore> {
        let credential = Credential::api_key(self.key.clone());
        let mut config =
            AppwriteConfig::new(&self.endpoint, &self.project, credential, self.effects.clone())?
                .transport(Arc::clone(&self.transport));
        for collection in COLLECTIONS {
            for user in USERS {
                let table =
                    Table::new(&self.database, table_of(collection, user)).scope_column("case", "in_case");
                config = config.table(user, collection, table)?;
            }
        }
        AppwriteRemoteStore::new(config)
    }
}

fn table_of(collection: &str, user: &str) -> String {
    format!("{collection}_{user}")
}

/// The kinds and definitions of the columns that the suite's records need, and of the adapter's own.
fn columns_of_the_suite() -> Vec<(&'static str, Value)> {
    let text = |key: &str, size: u32| ("string", json!({"key": key, "size": size, "required": false}));
    vec![
        text("title", 100_000),
        text("note", 1_000),
        ("boolean", json!({"key": "done", "required": false})),
        ("integer", json!({"key": "count", "required": false})),
        (
            "boolean",
            json!({"key": "deleted", "required": false, "default": false}),
        ),
        text("op_id", 36),
        text("in_case", 36),
    ]
}

/// Each case works in scopes of its own, and with ids of its own.
struct Fixture<'s> {
    server: &'s Server,
    case: AtomicU64,
}

impl Fixture<'_> {
    fn case(&self) -> u64 {
        self.case.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl RemoteFixture for Fixture<'_> {
    async fn fresh(&self) -> Arc<dyn RemoteStore> {
        self.case.fetch_add(1, Ordering::Relaxed);
        Arc::new(
            self.server
                .connect()
                .expect("the configuration was accepted before"),
        )
    }

    fn target(&self, collection: &str, user: &str) -> Target {
        let scope = SyncScope::new(user).and_then(|scope| scope.with("case", self.case().to_string()));
        let collection = CollectionName::new(collection);
        Target::new(
            collection.expect("the suite's collections have valid names"),
            scope.expect("the suite's users have valid names"),
        )
    }

    fn record_id(&self, number: u64) -> RecordId {
        RecordId::new(format!("c{}-{number}", self.case())).expect("letters and digits are an id")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("appwrite_live_check: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every case passed.
async fn run() -> Result<bool> {
    let server = Server::from_environment()?;
    let outcome = examine(&server).await;
    let removed = server.tear_down().await;
    outcome.and_then(|passed| removed.map(|()| passed))
}

async fn examine(server: &Server) -> Result<bool> {
    server.set_up().await?;
    let fixture = Fixture {
        server,
        case: AtomicU64::new(0),
    };
    let report = remote_suite::run(&fixture).await;
    println!("{report}");
    Ok(report.failures().next().is_none() && report.passed() > 0)
}

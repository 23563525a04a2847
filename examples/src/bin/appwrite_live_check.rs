//! Runs the conformance suite of remotes on an Appwrite server of yours, and prints the certificate.
//!
//! ```text
//! APPWRITE_ENDPOINT=https://host/v1 APPWRITE_PROJECT=my-project APPWRITE_KEY=... appwrite_live_check
//! ```
//!
//! The key needs the scopes databases.write, tables.write, columns.read, columns.write, indexes.read, indexes.write,
//! rows.read and rows.write. The program makes a database of its own, and deletes it at the end.

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

/// How often, and how long apart, is looked whether new columns and indexes can be used.
const LOOKS: u32 = 300;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

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

    /// The body of the answer, null if there is none.
    async fn call(&self, method: http::Method, path: &[&str], body: Option<Value>) -> Result<Value> {
        let url = BaseUrl::parse(&self.endpoint)?.join(path.iter().copied());
        let mut request = HttpRequest::new(method, url)
            .with_header(http::HeaderName::from_static("x-appwrite-project"), &self.project)?
            .with_secret_header(http::HeaderName::from_static("x-appwrite-key"), "", &self.key)?;
        if let Some(body) = body {
            request = request.with_json(&body)?;
        }
        let response = self.transport.send(request).await?;
        if !response.status.is_success() {
            let told = format!("{}: {}", path.join("/"), String::from_utf8_lossy(&response.body));
            let error = SyncError::new(error_for_status(&response).kind(), told);
            return Err(error.with_operation("set up"));
        }
        if response.body.is_empty() {
            return Ok(Value::Null);
        }
        response.json()
    }

    /// Makes the database with its tables, and waits until they can be used.
    async fn set_up(&self) -> Result<()> {
        let database = self.database.as_str();
        let named = json!({"databaseId": database, "name": database});
        self.call(http::Method::POST, &["tablesdb"], Some(named)).await?;
        for table in tables() {
            let path = ["tablesdb", database, "tables"];
            let made = json!({"tableId": table, "name": table, "permissions": [], "rowSecurity": false});
            self.call(http::Method::POST, &path, Some(made)).await?;
            let path = ["tablesdb", database, "tables", &table, "columns"];
            for (kind, column) in columns_of_the_suite() {
                let path: Vec<&str> = path.into_iter().chain([kind]).collect();
                self.call(http::Method::POST, &path, Some(column)).await?;
            }
        }
        for table in tables() {
            // An index needs columns that are finished.
            let columns = ["tablesdb", database, "tables", &table, "columns"];
            self.wait_for(&columns, "columns").await?;
            let path = ["tablesdb", database, "tables", &table, "indexes"];
            let index = json!({"key": "cases", "type": "key", "columns": ["in_case"]});
            self.call(http::Method::POST, &path, Some(index)).await?;
            self.wait_for(&[&path[..], &["cases"]].concat(), "index").await?;
        }
        self.connect()?.check().await
    }

    /// Waits until the server has built what is at a path, by itself or as a list with this name.
    async fn wait_for(&self, path: &[&str], list: &str) -> Result<()> {
        for _ in 0..LOOKS {
            let answer = self.call(http::Method::GET, path, None).await?;
            let parts = match answer[list].as_array() {
                Some(parts) => parts.clone(),
                None => vec![answer],
            };
            let has_status = |status: &str| parts.iter().any(|part| part["status"] == status);
            if has_status("failed") || has_status("stuck") {
                let told = format!("{}: {}", path.join("/"), Value::Array(parts));
                return Err(SyncError::new(ErrorKind::Configuration, told).with_operation("set up"));
            }
            if !has_status("processing") {
                return Ok(());
            }
            self.effects.timer.sleep(BETWEEN_LOOKS).await;
        }
        let why = format!("{}: the server did not finish in time", path.join("/"));
        Err(SyncError::new(ErrorKind::Configuration, why).with_operation("set up"))
    }

    async fn tear_down(&self) -> Result<()> {
        let path = ["tablesdb", &self.database];
        self.call(http::Method::DELETE, &path, None).await.map(drop)
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

/// The table of each collection and user.
fn tables() -> impl Iterator<Item = String> {
    let of_users = |collection| USERS.iter().map(move |user| table_of(collection, user));
    COLLECTIONS.into_iter().flat_map(of_users)
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

//! An Appwrite: a stand-in that ends with the program, or the user's own.

use std::sync::Arc;

use adapter_appwrite::{AppwriteConfig, AppwriteRemoteStore, Credential, Table};
use appwrite_stand_in::{Column, ColumnKind, Profile, StandIn, TableSpec};
use async_trait::async_trait;
use http::{HeaderName, Method};
use serde_json::{Value, json};
use sync_core::{Effects, RemoteStore, SyncError, Target};
use sync_http::{BaseUrl, HttpRequest, Secret, Transport, error_for_status};

use super::{
    Backend, Connection,
    meeting::{Meeting, NAME, own_secret},
};
use crate::{arguments::Arguments, deliveries::Deliveries, failure::Failure};

/// The longest record, as JSON.
const LONGEST_RECORD: usize = 1_000_000;

/// A server with the table.
pub(crate) struct Appwrite {
    /// `None` if it is the user's own.
    private: Option<StandIn>,
    endpoint: String,
    project: String,
    key: Secret,
    meeting: Meeting,
    observer: Arc<dyn RemoteStore>,
}

impl Appwrite {
    pub(crate) async fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let meeting = Meeting::new(ops_in)?;
        let (private, endpoint, project, key) = match (&arguments.remote_url, &arguments.remote_user) {
            (Some(endpoint), Some(project)) => {
                let key = own_secret("--remote-url needs an API key")?;
                (None, endpoint.clone(), project.clone(), key)
            }
            _ => {
                let server = StandIn::start(Profile::V1_9_6)
                    .await
                    .map_err(|error| Failure::Usage(error.to_string()))?;
                server.create_table(NAME, &table());
                let (endpoint, project) = (server.endpoint(), server.project());
                let key = Secret::new(server.create_key());
                (Some(server), endpoint, project, key)
            }
        };
        if private.is_none() {
            remove_earlier_runs(&endpoint, &project, &key, &*meeting.good_network()).await?;
        }
        let observer = connect(&endpoint, &project, &key, meeting.good_network()).await?;
        Ok(Self {
            private,
            endpoint,
            project,
            key,
            meeting,
            observer,
        })
    }
}

/// Records with any fields are kept as JSON text. A table of the user's own has the same columns.
fn table() -> TableSpec {
    TableSpec::new(NAME)
        .column(Column::optional("doc", ColumnKind::Text { size: LONGEST_RECORD }))
        .column(Column::optional("run", ColumnKind::Text { size: 36 }))
        .column(Column::optional("deleted", ColumnKind::Boolean).default(false))
        .column(Column::optional("op_id", ColumnKind::Text { size: 36 }))
}

/// Ids are unique in a table, so the records of an earlier run would be in the way.
async fn remove_earlier_runs(
    endpoint: &str,
    project: &str,
    key: &Secret,
    transport: &dyn Transport,
) -> Result<(), Failure> {
    let rows = BaseUrl::parse(endpoint)?.join(["tablesdb", NAME, "tables", NAME, "rows"]);
    let of_a_run = json!({"method": "isNotNull", "attribute": "run", "values": []}).to_string();
    loop {
        let request = HttpRequest::new(Method::DELETE, rows.clone())
            .with_header(HeaderName::from_static("x-appwrite-project"), project)?
            .with_secret_header(HeaderName::from_static("x-appwrite-key"), "", key)?
            .with_json(&json!({ "queries": [of_a_run] }))?;
        let response = transport.send(request).await.map_err(SyncError::from)?;
        if !response.status.is_success() {
            return Err(error_for_status(&response).into());
        }
        let removed: Value = response.json()?;
        // A server may remove them in parts.
        if removed["rows"].as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
    }
}

async fn connect(
    endpoint: &str,
    project: &str,
    key: &Secret,
    transport: Arc<dyn Transport>,
) -> Result<Arc<dyn RemoteStore>, Failure> {
    let table = Table::new(NAME, NAME)
        .document_column("doc")
        .scope_column("run", "run");
    let credential = Credential::api_key(key.clone());
    let config = AppwriteConfig::new(endpoint, project, credential, Effects::tokio())?
        .transport(transport)
        .table(NAME, NAME, table)?;
    Ok(Arc::new(AppwriteRemoteStore::connect(config).await?))
}

#[async_trait]
impl Backend for Appwrite {
    fn introduction(&self) -> Option<String> {
        Some(match self.private {
            Some(_) => format!("a stand-in for Appwrite 1.9.6 listens on {}", self.endpoint),
            None => format!(
                "the records go to the table {NAME} of {}, and stay there under the run {} until the next",
                self.endpoint,
                self.meeting.run()
            ),
        })
    }

    fn target(&self) -> &Target {
        self.meeting.target()
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let network = self.meeting.device_network();
        let remote = connect(&self.endpoint, &self.project, &self.key, network.clone()).await?;
        Ok(Connection { remote, network })
    }

    fn observer(&self) -> Arc<dyn RemoteStore> {
        Arc::clone(&self.observer)
    }

    /// Appwrite keeps no log of operations, so what took effect twice shows only in what the stand-in was asked: two
    /// writes that name one operation and were both carried out.
    async fn deliveries(&self) -> Result<Deliveries, Failure> {
        Ok(Deliveries {
            repeated: self.meeting.repeated(),
            repeated_effects: self.private.as_ref().map_or(0, repeated_effects),
        })
    }
}

/// Operations that single writes carried out more than once. A transaction takes effect once, whatever is sent.
fn repeated_effects(server: &StandIn) -> u64 {
    let mut times = std::collections::BTreeMap::<String, u64>::new();
    for logged in server.requests() {
        let single = logged.request.path.contains("/rows") && logged.request.method != "GET";
        let carried_out = logged.status.is_some_and(|status| status < 300);
        if let Some(body) = logged.request.body_json().filter(|_| single && carried_out) {
            for op in ops_of(&body) {
                *times.entry(op).or_default() += 1;
            }
        }
    }
    times.values().filter(|times| **times > 1).count() as u64
}

/// The operations that a request sends.
fn ops_in(request: &HttpRequest) -> Vec<String> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    ops_of(&body)
}

fn ops_of(body: &Value) -> Vec<String> {
    let op_of = |write: &Value| write["data"]["op_id"].as_str().map(str::to_owned);
    match body["operations"].as_array() {
        Some(operations) => operations.iter().filter_map(op_of).collect(),
        None => op_of(body).into_iter().collect(),
    }
}

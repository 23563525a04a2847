//! A stand-in for an Appwrite server, for tests: the TablesDB API with accounts, transactions and realtime,
//! in memory, over real HTTP on a loopback port.
//!
//! [`Machine`] is the server as a state machine without a socket; [`StandIn`] puts it on a port, disturbs it
//! by [`Fault`]s and keeps a log of requests. Where a real Appwrite differs from what one would expect, there
//! is a named [`Quirk`] that cites the recorded exchange which shows it.
//!
//! ```
//! use appwrite_stand_in::{Column, ColumnKind, Profile, StandIn, TableSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let server = StandIn::start(Profile::V1_9_6).await?;
//! let title = Column::required("title", ColumnKind::Text { size: 128 });
//! server.create_table("db1", &TableSpec::new("notes").column(title));
//!
//! // A client is configured with these:
//! let (endpoint, project, key) = (server.endpoint(), server.project(), server.create_key());
//! assert!(endpoint.starts_with("http://127.0.0.1:") && project == "proj1" && !key.is_empty());
//!
//! // Another client writes meanwhile, past the network.
//! let body = serde_json::json!({"rowId": "a", "data": {"title": "Milk"}});
//! assert_eq!(server.as_key("POST", "/v1/tablesdb/db1/tables/notes/rows", &body).status, 201);
//! assert_eq!(server.row("db1", "notes", "a").map(|row| row["title"].clone()), Some("Milk".into()));
//! # Ok(())
//! # }
//! ```
//!
//! # What it is held to
//!
//! `recordings/` holds 394 exchanges and 50 realtime frames recorded from a self-hosted Appwrite 1.9.6 on
//! MariaDB. The tests replay them against this server, and each quirk must be pinned by at least one of them.
//! With the feature `contract` every answer is also checked against the official OpenAPI file. It was never
//! held to Appwrite Cloud or to any 2.x version.

mod account;
mod bulk;
mod commit;
#[cfg(feature = "contract")]
mod contract;
mod counter;
mod databases;
mod effects;
mod error;
mod event;
mod exchange;
mod fault;
mod http;
mod list;
mod machine;
mod operator;
mod permission;
mod query;
mod quirk;
mod rate;
mod realtime;
mod row;
mod schema;
mod single;
mod staging;
mod stand_in;
mod table_spec;
mod tables;
mod time;
mod transaction;
mod websocket;
mod write;

#[cfg(feature = "contract")]
pub use contract::{Contract, Deviation, specs_directory};
pub use effects::{AdjustableClock, Clock, CountingIds, Ids};
pub use exchange::{Body, Request, Response};
pub use fault::{Fault, HeldWrite, RequestMatch};
pub use machine::{Arrival, Machine};
pub use quirk::{Profile, Quirk, Quirks};
pub use realtime::{ConnectionId, Frame, RealtimeFault, realtime_request};
pub use schema::{Column, ColumnKind};
pub use stand_in::{LoggedRequest, StandIn};
pub use table_spec::TableSpec;
pub use time::Timestamp;

//! The persistent local store of the sync framework.

mod commit;
mod dialect;
mod driver;
mod error;
mod lease;
mod notify;
mod open;
mod options;
mod query_sql;
mod read;
mod rows;
mod schema;
mod sql;
mod store;
mod targets;

pub use options::{Durability, OpenOptions};
pub use store::SeaOrmLocalStore;

//! The tests of SQLite with the driver over sea-orm and sqlx.

use store_sea_orm::SqliteDriver;

const DRIVER: SqliteDriver = SqliteDriver::Sqlx;

#[path = "../conformance.rs"]
mod conformance;
#[path = "../faults.rs"]
mod faults;
#[path = "../live.rs"]
mod live;
#[path = "../sharing.rs"]
mod sharing;

//! The tests of SQLite with the driver that calls SQLite within the process.

use store_sea_orm::SqliteDriver;

const DRIVER: SqliteDriver = SqliteDriver::Direct;

#[path = "../conformance.rs"]
mod conformance;
#[path = "../faults.rs"]
mod faults;
#[path = "../live.rs"]
mod live;
#[path = "../sharing.rs"]
mod sharing;

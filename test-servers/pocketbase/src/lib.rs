//! Starts a private PocketBase for tests, examples and benchmarks.
//!
//! [`Server::start`] runs the program that `scripts/fetch-pocketbase.sh` fetches on a free port of the loopback
//! interface, with its files in a temporary folder, and gives it a superuser. Everything is gone when the
//! [`Server`] is dropped. What an operator can do with a real server has a method: change the settings, import
//! collections, make users, kill the process and start it again on the same files, take and restore a backup.
//!
//! ```no_run
//! # async fn example() -> Result<(), pocketbase_server::ServerError> {
//! let server = pocketbase_server::Server::start().await?;
//! server.admin().enable_batches(50, 3).await?;
//! println!("{} is ready", server.url());
//! # Ok(())
//! # }
//! ```
//!
//! Every wait has a deadline and ends in a [`ServerError`] that shows the end of the server's log.

mod admin;
mod error;
mod process;
mod program;
mod server;

pub use admin::{Admin, Answer};
pub use error::ServerError;
pub use program::{PROGRAM_VARIABLE, program};
pub use server::Server;

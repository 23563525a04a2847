//! Conformance suites for local stores and remotes, doubles that are wrong on purpose, and effects for tests.
//!
//! Anyone can write a [`LocalStore`](sync_core::LocalStore) or a [`RemoteStore`](sync_core::RemoteStore). Their
//! contracts are long, and what breaks them shows late. The suites here turn each sentence of the contracts into a
//! named case, run on your own implementation with a few lines:
//!
//! # A local store
//!
//! Say how to make an empty store, and how to open it again; then run [`local_suite`] and [`query_suite`]:
//!
//! ```
//! use std::sync::Arc;
//! use adapter_memory::MemoryLocalStore;
//! use sync_core::LocalStore;
//! use sync_testkit::{local_suite, query_suite};
//!
//! struct MyStores;
//!
//! #[async_trait::async_trait]
//! impl local_suite::LocalFixture for MyStores {
//!     async fn fresh(&self) -> Arc<dyn LocalStore> {
//!         Arc::new(MemoryLocalStore::new())
//!     }
//!
//!     async fn reopen(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
//!         // A durable store is closed here, and opened again over the same file.
//!         store
//!     }
//! }
//!
//! # futures::executor::block_on(async {
//! local_suite::run(&MyStores).await.assert_passed();
//! query_suite::run(&MyStores, 0, 20).await.assert_passed();
//! # })
//! ```
//!
//! # A remote
//!
//! [`remote_suite`] expects of a remote exactly what its [`Capabilities`](sync_core::Capabilities) announce. A
//! fixture for a real server gives each case its own scopes, and may have hooks for what only an operator can do
//! (restore a backup, let a sign-in expire):
//!
//! ```
//! use std::sync::Arc;
//! use adapter_memory::MemoryRemoteStore;
//! use sync_core::RemoteStore;
//! use sync_testkit::remote_suite;
//!
//! struct MyRemotes;
//!
//! #[async_trait::async_trait]
//! impl remote_suite::RemoteFixture for MyRemotes {
//!     async fn fresh(&self) -> Arc<dyn RemoteStore> {
//!         Arc::new(MemoryRemoteStore::new())
//!     }
//! }
//!
//! # futures::executor::block_on(async {
//! let report = remote_suite::run(&MyRemotes).await;
//! println!("{report}");
//! report.assert_passed();
//! # })
//! ```
//!
//! # The report
//!
//! A [`Report`] lists every case with the promises of the framework that rest on it (`P1` to `P18`), and prints as
//! a table. A case ends as *not applicable* only where there is nothing to
//! demand, and then names the capability or the hook that decides. A panic or a call that never ends fails its own
//! case, not the run. The suites need no async runtime; cases run one after another, each on a fresh subject.
//!
//! A [`certificate`] sums the reports up: each promise, and whether it passed, has nothing to demand, or failed.
//!
//! # Mistakes
//!
//! [`naive`] holds stores and remotes with one mistake each: a cursor that skips equal times, a lease that everyone
//! gets. The suites of this crate are tested on them. They serve in tests of an engine as well. For a store of your own
//! with one mistake or one fault, [`delegate_local_store`] passes everything else on.
//!
//! # Effects
//!
//! [`effects`] has a clock that moves only when told to, a timer on it, and repeatable random numbers.

mod case;
pub mod certificate;
mod delegation;
pub mod effects;
pub mod local_suite;
pub mod naive;
pub mod query_suite;
pub mod remote_suite;
mod report;
mod sample;
pub mod simulator;
pub mod traces;
pub mod traps;

#[doc(hidden)]
pub use delegation::types as store_types;
pub use report::{CaseOutcome, CaseReport, Report};

//! A remote on PocketBase.
//!
//! [`PocketBaseRemoteStore`] makes a PocketBase server (0.23 or later) the remote of a sync engine. What it can
//! promise depends on the server, is found out by asking it, and told as [`Profile`]:
//!
//! - A **plain** server is any, with one `autodate` field on its collections. Its times are taken before writes
//!   commit, and deletes leave nothing behind; so changes are read with an overlap and counted, and ids are swept.
//!   Everything arrives in the end, not always with the next pull.
//! - A server with the **feed** has triggers that number every write in the order of commits, keep tombstones and
//!   refuse stale writes. [`feed::setup`] installs it over the API. Every change arrives with the next pull, every
//!   write is conditional, and a lost answer is never a doubt.
//!
//! ```
//! use std::sync::Arc;
//! use adapter_pocketbase::{CollectionMapping, PocketBaseConfig, PocketBaseRemoteStore, Profile, ServerProfile};
//! use sync_core::{CursorKind, Effects, RemoteStore};
//! use sync_http::{Credentials, FixedToken, ReqwestTransport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> sync_core::Result<()> {
//! let config = PocketBaseConfig::new("https://example.com")?.with_collection(
//!     CollectionMapping::document("todos", "doc")
//!         .with_derived_ids("record_id")
//!         .with_scope_field("user", "owner"),
//! );
//! let effects = Effects::tokio();
//! let transport = Arc::new(ReqwestTransport::new(effects.timer.clone())?);
//! let tokens = Arc::new(FixedToken::new(Credentials::from_jwt("...")));
//!
//! // At the first start `connect` asks the server; its answer is kept, so that later starts need no network.
//! let known = ServerProfile { profile: Profile::Feed, batch_requests: Some(50) };
//! let remote = PocketBaseRemoteStore::open(config, transport, tokens, effects, known)?;
//! assert_eq!(remote.capabilities().cursor, CursorKind::CommitOrdered);
//! # Ok(()) }
//! ```
//!
//! # Sign-in
//!
//! PocketBase answers an expired token with empty lists and "not found", as if everything had been deleted. This
//! adapter believes no absence, and no refusal without a reason, before the server has accepted the token once
//! more. [`PocketBaseAuth`] signs in, and renews tokens for a [`sync_http::Session`].
//!
//! # Values
//!
//! PocketBase changes what does not fit its columns, in silence. [`CollectionMapping::document`] keeps records as
//! JSON text, whatever they hold; with [`CollectionMapping::fields`] each value is checked by its [`FieldKind`]
//! before it is sent, and refused by the name of its field.

mod auth;
mod client;
mod config;
mod cursor;
mod error;
pub mod feed;
mod fields;
mod filter;
mod probe;
mod pull;
mod push;
mod read;
mod realtime;
mod remote;
mod rows;
#[cfg(feature = "pocketbase-sdk")]
mod sdk;
mod search;
mod time_text;
mod wire;

pub use auth::PocketBaseAuth;
pub use config::{CollectionMapping, PocketBaseConfig};
pub use fields::FieldKind;
pub use probe::{Profile, ServerProfile};
pub use remote::PocketBaseRemoteStore;
#[cfg(feature = "pocketbase-sdk")]
pub use sdk::PocketBaseSdk;

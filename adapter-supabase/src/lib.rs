//! A remote on Supabase.
//!
//! [`SupabaseRemoteStore`] makes a Supabase project the remote of a sync engine. With the change feed, which
//! [`migration`] writes as plain SQL, every change arrives, in the order of commits, and every write is conditional
//! and takes effect once; row-level security stays in charge of each row.
//!
//! ```no_run
//! use std::sync::Arc;
//! use adapter_supabase::{ApiKey, SupabaseAuth, SupabaseConfig, SupabaseRemoteStore};
//! use sync_core::{Effects, RemoteStore};
//! use sync_http::{MemoryCredentialStore, ReqwestTransport};
//!
//! # async fn example() -> sync_core::Result<()> {
//! let (url, key) = ("https://project.supabase.co", ApiKey::new("sb_publishable_..."));
//! let effects = Effects::tokio();
//! let transport = Arc::new(ReqwestTransport::new(effects.timer.clone())?);
//! let auth = SupabaseAuth::new(url, key.clone(), transport, &effects)?;
//! let session = auth.session(Arc::new(MemoryCredentialStore::default()), effects.clone());
//! session.sign_in(auth.sign_in("ada@example.com", &"her password".into()).await?).await?;
//!
//! // At the first start `connect` asks the project; its answer is kept, so that later starts need no network.
//! let config = SupabaseConfig::new(url, key, effects)?.signed_in(Arc::new(session));
//! let remote = SupabaseRemoteStore::connect(config.clone()).await?;
//! let again = SupabaseRemoteStore::open(config, remote.profile().clone())?;
//! assert_eq!(again.capabilities(), remote.capabilities());
//! # Ok(()) }
//! ```
//!
//! # Ids and values
//!
//! Ids are the canonical text of their column: a uuid in lower case. A record has the fields that the migration
//! names as columns; one that is not sent is null (or the column's default, for a new or replaced record). The id of a
//! row is unique in its table, so two scopes never hold the same one. What the database stores otherwise than it was
//! sent, such as a time with an offset, comes back with the outcome.
//!
//! # Sign-in
//!
//! The key says which project, the user's token who: they are never sent in each other's place. An expired token is
//! renewed once for each request; a refresh that fails for want of a network ends nothing, and one that is refused for
//! good is `Unauthenticated`, with the queue kept. See [`SupabaseAuth`] and [`TokenFile`].
//!
//! # Without the feed
//!
//! A project without the migration is synchronized by its tables alone, if they have an `updated_at` that a trigger sets:
//! see [`SupabaseTable`] and [`Mode::Table`]. What commits later than the overlap is then found by a count of rows and by
//! the scan of ids; [`SupabaseConfig::require`] refuses this.
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `supabase_rs` | no | selects and function calls of servers through the crate of that name |
//! | `live` | no | tests against a project of the user's own |

pub mod migration;

mod auth;
mod client;
mod config;
mod error;
mod feed;
mod filter_text;
mod key;
mod probe;
mod realtime;
mod remote;
#[cfg(feature = "supabase_rs")]
mod sdk;
mod search;
mod table;
mod table_mapping;

pub use auth::{SupabaseAuth, TokenFile};
pub use config::SupabaseConfig;
pub use key::ApiKey;
pub use probe::{FeedProfile, Mode, ProjectProfile};
pub use realtime::{PhoenixVersion, RealtimeOptions};
pub use remote::SupabaseRemoteStore;
#[cfg(feature = "supabase_rs")]
pub use sdk::SupabaseSdk;
pub use table::TableProfile;
pub use table_mapping::{ColumnKind, SupabaseTable};

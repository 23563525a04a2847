//! A remote on Supabase.

pub mod migration;

mod client;
mod config;
mod error;
mod feed;
mod filter_text;
mod key;
mod probe;
mod realtime;
mod remote;
mod table;
mod table_mapping;

pub use config::SupabaseConfig;
pub use key::ApiKey;
pub use probe::{FeedProfile, Mode, ProjectProfile};
pub use realtime::{PhoenixVersion, RealtimeOptions};
pub use remote::SupabaseRemoteStore;
pub use table::TableProfile;
pub use table_mapping::{ColumnKind, SupabaseTable};

//! A remote on PocketBase.

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

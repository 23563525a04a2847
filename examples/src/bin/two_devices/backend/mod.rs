//! Where the devices meet: one file for each choice of `--remote`.

mod appwrite;
mod bad_network;
mod meeting;
mod memory;
mod pocketbase;
mod supabase;

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::{RemoteStore, Target};

use crate::{
    arguments::{Arguments, RemoteChoice},
    deliveries::Deliveries,
    failure::Failure,
};

#[cfg(test)]
pub(crate) use memory::Memory;

/// A backend, ready to be used. What it started ends when it is dropped.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// What the story calls it; `None` if there is nothing to tell.
    fn introduction(&self) -> Option<String>;

    /// Where the records are, on both devices and at the remote.
    fn target(&self) -> &Target;

    /// A connection for one device.
    async fn connect(&self) -> Result<Connection, Failure>;

    /// A connection over a good network, to look at what there is.
    fn observer(&self) -> Arc<dyn RemoteStore>;

    /// What reached the backend, as it remembers itself.
    async fn deliveries(&self) -> Result<Deliveries, Failure>;
}

/// One device's way to the backend.
pub(crate) struct Connection {
    pub(crate) remote: Arc<dyn RemoteStore>,
    pub(crate) network: Arc<dyn Network>,
}

/// What goes wrong between a device and the backend.
pub(crate) trait Network: Send + Sync {
    /// Lets it misbehave, some of it for certain and some at random.
    fn disturb(&self, seed: u64);

    /// Lets the next requests fail, until it is calm again.
    fn cut(&self);

    /// Ends all faults.
    fn calm(&self);
}

/// The message of a request that never arrives.
const NETWORK_DOWN: &str = "the network is down";
/// The message of a request whose answer never arrives.
const ANSWER_LOST: &str = "the answer was lost";

/// The backend that the arguments choose.
pub(crate) async fn open(arguments: &Arguments) -> Result<Box<dyn Backend>, Failure> {
    Ok(match arguments.remote {
        RemoteChoice::Appwrite => Box::new(appwrite::Appwrite::open(arguments).await?),
        RemoteChoice::Memory => Box::new(memory::Memory::new()?),
        RemoteChoice::Pocketbase => Box::new(pocketbase::PocketBase::open(arguments).await?),
        RemoteChoice::Supabase => Box::new(supabase::Supabase::open(arguments).await?),
    })
}

//! What the backends over HTTP have in common: a scope for each run, and a network for each device.

use std::sync::{Arc, Mutex, PoisonError};

use sync_core::{CollectionName, Effects, SyncScope, Target, TokioTimer};
use sync_http::{ReqwestTransport, Secret, Transport};

use super::bad_network::{BadNetwork, NameOps};
use crate::failure::Failure;

/// The collection, what the backend calls it, and what scopes begin with.
pub(super) const NAME: &str = "two_devices";

/// The environment variable with the secret of a server of the user's own.
const SECRET_VARIABLE: &str = "REMOTE_PASSWORD";

/// Devices that meet in one scope of a server.
pub(super) struct Meeting {
    run: String,
    target: Target,
    good: Arc<dyn Transport>,
    name_ops: NameOps,
    networks: Mutex<Vec<Arc<BadNetwork>>>,
}

impl Meeting {
    /// Each run has a scope of its own, so that those of earlier runs do not meet it.
    pub(super) fn new(name_ops: NameOps) -> Result<Self, Failure> {
        let run = Effects::tokio().new_uuid().to_string();
        let scope = SyncScope::new(NAME)?.with("run", &run)?;
        Ok(Self {
            run,
            target: Target::new(CollectionName::new(NAME)?, scope),
            good: Arc::new(ReqwestTransport::new(Arc::new(TokioTimer))?),
            name_ops,
            networks: Mutex::default(),
        })
    }

    /// What tells this run from others.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Where the records are.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// A network without faults, to prepare the server and to look at what there is.
    pub(super) fn good_network(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.good)
    }

    /// One more device's network, which can misbehave.
    pub(super) fn device_network(&self) -> Arc<BadNetwork> {
        let network = Arc::new(BadNetwork::new(self.good_network(), self.name_ops));
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        networks.push(Arc::clone(&network));
        network
    }

    /// How many operations arrived more than once, over all devices.
    pub(super) fn repeated(&self) -> u64 {
        let networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        networks.iter().map(|network| network.repeated()).sum()
    }
}

/// The secret of a server of the user's own; `what` names it, and the option that asks for it.
pub(super) fn own_secret(what: &str) -> Result<Secret, Failure> {
    std::env::var(SECRET_VARIABLE)
        .map(Secret::new)
        .map_err(|_| Failure::Usage(format!("{what} in the environment variable {SECRET_VARIABLE}")))
}

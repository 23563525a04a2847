//! A backend in this program's memory.

use std::{collections::HashMap, sync::Arc};

use adapter_memory::{
    MemoryRemoteStore,
    faults::{Call, Fault, FaultRates, Faults},
};
use async_trait::async_trait;
use sync_core::{CollectionName, ErrorKind, OpId, RemoteStore, SyncError, SyncScope, Target};

use super::{ANSWER_LOST, Backend, Connection, NETWORK_DOWN, Network};
use crate::{deliveries::Deliveries, failure::Failure};

/// The memory remote, with its own faults as the network.
pub(crate) struct Memory {
    pub(crate) remote: MemoryRemoteStore,
    target: Target,
}

impl Memory {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            remote: MemoryRemoteStore::new(),
            target: Target::new(CollectionName::new("records")?, SyncScope::new("two_devices")?),
        })
    }
}

#[async_trait]
impl Backend for Memory {
    fn introduction(&self) -> Option<String> {
        None
    }

    fn target(&self) -> &Target {
        &self.target
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let remote = self.remote.another_client();
        let network = Arc::new(remote.faults());
        Ok(Connection {
            remote: Arc::new(remote),
            network,
        })
    }

    fn observer(&self) -> Arc<dyn RemoteStore> {
        Arc::new(self.remote.clone())
    }

    async fn deliveries(&self) -> Result<Deliveries, Failure> {
        let mut arrivals: HashMap<OpId, u64> = HashMap::new();
        for op in self.remote.push_log().iter().flat_map(|batch| &batch.ops) {
            *arrivals.entry(op.op_id).or_default() += 1;
        }
        let mut deliveries = Deliveries::default();
        for (op_id, times) in arrivals {
            if times > 1 {
                deliveries.repeated += 1;
                deliveries.repeated_effects += u64::from(self.remote.applied_count(op_id) > 1);
            }
        }
        Ok(deliveries)
    }
}

impl Network for Faults {
    fn disturb(&self, seed: u64) {
        let lost = || Fault::FailAfter(SyncError::new(ErrorKind::Timeout, ANSWER_LOST));
        for fault in [lost(), Fault::Duplicate, Fault::Pass, lost()] {
            self.script(Call::Push, fault);
        }
        self.script(Call::Pull, unreachable());
        self.script(Call::Pull, lost());
        let rates = FaultRates {
            fail_before: 0.06,
            fail_after: 0.06,
            duplicate: 0.04,
            redeliver: 0.04,
            retry_ops: 0.04,
            ..FaultRates::default()
        };
        self.randomize(seed, rates);
    }

    fn cut(&self) {
        for call in [Call::Push, Call::Pull] {
            self.script(call, unreachable());
        }
    }

    fn calm(&self) {
        Faults::calm(self);
    }
}

/// The fault of a request that never arrives.
fn unreachable() -> Fault {
    Fault::FailBefore(SyncError::new(ErrorKind::Unreachable, NETWORK_DOWN))
}

//! What reached the remote, as it remembers itself.

use std::collections::HashMap;

use adapter_memory::MemoryRemoteStore;
use sync_core::OpId;

/// How often writes arrived, and what that did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deliveries {
    /// Writes that arrived more than once.
    pub(crate) repeated: u64,
    /// Writes that took effect more than once; anything but 0 is a defect.
    pub(crate) repeated_effects: u64,
}

impl Deliveries {
    /// Goes through everything that reached the remote.
    pub(crate) fn to(remote: &MemoryRemoteStore) -> Self {
        let mut arrivals: HashMap<OpId, u64> = HashMap::new();
        for op in remote.push_log().iter().flat_map(|batch| &batch.ops) {
            *arrivals.entry(op.op_id).or_default() += 1;
        }
        let mut deliveries = Self::default();
        for (op_id, times) in arrivals {
            if times > 1 {
                deliveries.repeated += 1;
                deliveries.repeated_effects += u64::from(remote.applied_count(op_id) > 1);
            }
        }
        deliveries
    }
}

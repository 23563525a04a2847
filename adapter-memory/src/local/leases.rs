//! Leases: at most one holder at a time, told apart by growing fences.

use std::{collections::BTreeMap, time::Duration};

use sync_core::{ErrorKind, Fence, LeaseAnswer, Result, SyncError, Timestamp};
use uuid::Uuid;

#[derive(Debug)]
struct Lease {
    /// The last fence given out; kept when the lease is given back, so that fences only grow.
    token: u64,
    holder: Option<(Uuid, Timestamp)>,
}

/// Every lease ever taken, by name.
#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<String, Lease>);

impl Leases {
    pub(super) fn acquire(
        &mut self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> LeaseAnswer {
        let lease = self.0.entry(name.to_owned()).or_insert(Lease {
            token: 0,
            holder: None,
        });
        match lease.holder {
            Some((current, _)) if current == holder => {}
            // At `until` itself the lease has ended: who waited exactly that long gets it.
            Some((_, until)) if until > now => return LeaseAnswer::Held { until },
            _ => lease.token += 1,
        }
        lease.holder = Some((holder, now.plus(time)));
        LeaseAnswer::Granted(Fence {
            lease: name.to_owned(),
            token: lease.token,
        })
    }

    pub(super) fn release(&mut self, fence: &Fence) {
        if let Some(lease) = self.0.get_mut(&fence.lease)
            && lease.token == fence.token
        {
            lease.holder = None;
        }
    }

    /// Refuses a fence that is not the current one. A lease whose time has ended is still current as long as
    /// nobody has taken it over.
    pub(super) fn check(&self, fence: &Fence) -> Result<()> {
        match self.0.get(&fence.lease) {
            Some(lease) if lease.token == fence.token && lease.holder.is_some() => Ok(()),
            _ => Err(
                SyncError::new(ErrorKind::LeaseLost, "the lease was taken over or given back")
                    .with_field(fence.lease.clone())
                    .with_operation("commit")
                    .with_adapter(super::NAME),
            ),
        }
    }
}

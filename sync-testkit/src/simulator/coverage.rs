//! What came to pass in simulations: how often each fault struck, and which branches of the engine were seen.

use std::collections::BTreeSet;

use super::fault_kind::FaultKind;

macro_rules! branches {
    ($($branch:ident $name:literal,)*) => {
        /// Something the engine only does under certain circumstances, seen from outside.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        #[non_exhaustive]
        pub enum Branch {
            $(#[doc = $name] $branch,)*
        }

        impl Branch {
            /// Every branch.
            pub const ALL: &'static [Branch] = &[$(Branch::$branch,)*];

            /// What it is, in words.
            pub fn name(self) -> &'static str {
                match self {
                    $(Branch::$branch => $name,)*
                }
            }
        }
    };
}

branches! {
    Applied "an operation took effect",
    Duplicate "a repeated operation was recognised",
    ConflictAtPush "a push met another state",
    MissingAtPush "a push met no record",
    Rejected "an operation was refused for good",
    RetryAsked "an operation was to be sent again",
    AtomicBatch "a batch was pushed as a whole",
    ReadBack "a record was read back",
    Listed "ids were listed for a sweep",
    Searched "the remote evaluated a query",
    ResyncRequired "a sync point was refused",
    ScopeRevoked "a scope was not visible",
    Unauthenticated "a request was not signed in",
    KeptLocal "a conflict kept the local value",
    TookRemote "a conflict took the remote value",
    Merged "a conflict merged both values",
    FieldsKept "fields that different devices changed were all kept",
    Deferred "a conflict waited for the user",
    Discarded "a conflict was settled by giving up",
    ParkedRejected "an operation was parked as refused",
    ParkedResolver "an operation was parked as its resolver failed",
    ParkedRevoked "an operation was parked as its scope was revoked",
    ParkedSchema "an operation was parked as it could not be upgraded",
    BlockedChild "an operation waited for a parked one",
    InDoubt "an operation was marked as possibly sent",
    BehindInDoubt "a write queued behind one in doubt",
    Coalesced "a write joined a pending one",
    Annulled "a create and a delete annulled each other",
    StaleCommit "a commit was worked out anew",
    LeaseHeld "a lease was waited for",
    LeaseLost "a lease was lost",
    ResyncPass "a pass over everything was begun",
    RecordRemoved "a record without trace at the remote was removed",
    Quarantined "a row was put into quarantine",
    QuarantineLeft "a row left the quarantine",
    OperationUpgraded "a pending operation was upgraded",
    Evicted "records were given up to save room",
    ScopeCleared "a scope was cleared",
    ClearRefused "a scope with pending operations was not cleared",
    StaleAnswer "a read told that its answer is stale",
    WriteFailed "a write failed and left nothing behind",
    WriteDropped "a write was dropped",
    PauseKept "a pause that the remote asked for was kept",
    DriverSynced "a background driver synchronized",
    Watched "a watcher was told a new answer",
}

/// Counts of faults and branches.
#[derive(Clone, Debug)]
pub struct Coverage {
    faults: Vec<u64>,
    branches: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            faults: vec![0; FaultKind::ALL.len()],
            branches: vec![0; Branch::ALL.len()],
        }
    }
}

impl Coverage {
    pub(crate) fn fault(&mut self, kind: FaultKind) {
        self.faults[kind.index()] += 1;
    }

    pub(crate) fn branch(&mut self, branch: Branch) {
        self.branches[branch as usize] += 1;
    }

    /// Adds the counts of another simulation.
    pub fn add(&mut self, other: &Coverage) {
        for (sum, more) in self.faults.iter_mut().zip(&other.faults) {
            *sum += more;
        }
        for (sum, more) in self.branches.iter_mut().zip(&other.branches) {
            *sum += more;
        }
    }

    /// How often a fault struck.
    pub fn of_fault(&self, kind: FaultKind) -> u64 {
        self.faults[kind.index()]
    }

    /// How often a branch was seen.
    pub fn of_branch(&self, branch: Branch) -> u64 {
        self.branches[branch as usize]
    }

    /// The fault kinds that struck at least so often.
    pub fn faults_struck(&self, times: u64) -> BTreeSet<FaultKind> {
        FaultKind::ALL
            .iter()
            .copied()
            .filter(|kind| self.of_fault(*kind) >= times)
            .collect()
    }

    /// What was never seen of these faults, and of all branches, in words.
    pub fn missing(&self, faults: &[FaultKind]) -> Vec<String> {
        let faults = faults
            .iter()
            .filter(|kind| self.of_fault(**kind) == 0)
            .map(|kind| format!("the fault {kind} never struck"));
        let branches = Branch::ALL
            .iter()
            .filter(|branch| self.of_branch(**branch) == 0)
            .map(|branch| format!("it never happened that {}", branch.name()));
        faults.chain(branches).collect()
    }
}

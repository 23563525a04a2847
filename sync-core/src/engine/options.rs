//! The engine's settings.

use std::time::Duration;

/// Settings of an engine. The defaults suit an app on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Changes asked for in one page of a pull; held to the remote's limit.
    pub page_size: u32,
    /// About how many pulled changes are committed in one transaction; as many again are fetched meanwhile. Bounds the
    /// memory of a pull.
    pub commit_rows: usize,
    /// How much memory the records may take that a first pull commits in one transaction, in KiB, about; as much again
    /// is fetched meanwhile. Such a pull commits the more together the more it has brought, since ids without an order
    /// change most pages of an index each time. Local writes wait for a commit under way. 0 leaves it at `commit_rows`.
    pub first_pull_kib: u32,
    /// Operations in one push; held to the remote's limit.
    pub push_batch: u32,
    /// For how long answers to pushes may wait to be stored together. A remote that answers faster is sent several
    /// batches for each transaction; after a crash, what waited is in doubt and settled as if the answer had been
    /// lost.
    pub settle_within: Duration,
    /// How long one call to the remote may take.
    pub call_deadline: Duration,
    /// For how long a scope is leased; must be longer than `call_deadline`. After a crash, another process waits
    /// at most this long.
    pub lease_time: Duration,
    /// The first pause after a failure; it doubles with every further one, with full jitter.
    pub retry_base: Duration,
    /// The longest pause after failures.
    pub retry_cap: Duration,
    /// How often ids are swept against a remote whose cursor or deletes need it.
    pub sweep_interval: Duration,
    /// How often one record may meet new conflicts within one sync before it waits for the next.
    pub max_conflict_rounds: u32,
    /// How far in the future a foreign stamp may lie.
    pub max_clock_ahead: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            page_size: 500,
            commit_rows: 2_000,
            first_pull_kib: 16 * 1_024,
            push_batch: 100,
            settle_within: Duration::from_millis(20),
            call_deadline: Duration::from_secs(20),
            lease_time: Duration::from_secs(45),
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(300),
            sweep_interval: Duration::from_secs(24 * 3_600),
            max_conflict_rounds: 8,
            max_clock_ahead: crate::HybridClock::DEFAULT_MAX_AHEAD,
        }
    }
}

impl EngineOptions {
    /// Sets the changes asked for in one page.
    pub fn with_page_size(mut self, changes: u32) -> Self {
        self.page_size = changes.max(1);
        self
    }

    /// Sets about how many pulled changes are committed in one transaction.
    pub fn with_commit_rows(mut self, rows: usize) -> Self {
        self.commit_rows = rows.max(1);
        self
    }

    /// Sets how much memory the records may take that a first pull commits in one transaction, in KiB.
    pub fn with_first_pull_kib(mut self, kib: u32) -> Self {
        self.first_pull_kib = kib;
        self
    }

    /// Sets the operations in one push.
    pub fn with_push_batch(mut self, operations: u32) -> Self {
        self.push_batch = operations.max(1);
        self
    }

    /// Sets for how long answers to pushes may wait to be stored together; zero stores each before the next push.
    pub fn with_settle_within(mut self, time: Duration) -> Self {
        self.settle_within = time;
        self
    }

    /// Sets how long one call to the remote may take, and leases scopes for long enough.
    pub fn with_call_deadline(mut self, deadline: Duration) -> Self {
        self.call_deadline = deadline;
        self.lease_time = self.lease_time.max(deadline * 2 + Duration::from_secs(5));
        self
    }

    /// Sets for how long a scope is leased.
    pub fn with_lease_time(mut self, time: Duration) -> Self {
        self.lease_time = time;
        self
    }

    /// Sets the first and the longest pause after failures.
    pub fn with_retry(mut self, base: Duration, cap: Duration) -> Self {
        (self.retry_base, self.retry_cap) = (base, cap);
        self
    }

    /// Sets how often ids are swept against a remote that needs it.
    pub fn with_sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval;
        self
    }
}

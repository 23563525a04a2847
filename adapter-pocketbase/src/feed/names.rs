//! What the parts of the feed are called.

/// The version of what [`setup`](super::setup) installs, as the view of the feed tells it.
pub const FEED_VERSION: u32 = 1;

/// The field with the number of the record's last write: its version.
pub(crate) const FIELD_REV: &str = "sync_rev";
/// The field in which a writer says on which version it wrote; 0 otherwise.
pub(crate) const FIELD_BASE: &str = "sync_base";
/// The field in which a writer gives the id of its operation; empty once it is written.
pub(crate) const FIELD_OP: &str = "sync_op";
/// The field with the stamp of the last write, if it was ours.
pub(crate) const FIELD_STAMP: &str = "sync_stamp";

/// The names of one feed's collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedNames {
    prefix: String,
}

impl FeedNames {
    /// The names of the feed with this prefix: `sync_` and the collection's name, unless
    /// [`FeedOptions::with_prefix`](super::FeedOptions::with_prefix) said otherwise.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The names of the feed of a collection, if no prefix was chosen.
    pub fn of_collection(collection: &str) -> Self {
        Self::new(format!("sync_{collection}"))
    }

    fn part(&self, part: &str) -> String {
        format!("{}_{part}", self.prefix)
    }

    /// The collection of tombstones.
    pub fn gone(&self) -> String {
        self.part("gone")
    }

    /// The collection of operation ids.
    pub fn ops(&self) -> String {
        self.part("ops")
    }

    /// The collection of points in the counter's history.
    pub fn marks(&self) -> String {
        self.part("marks")
    }

    /// The view of the counter; its one record has the id `meta`.
    pub fn meta(&self) -> String {
        self.part("meta")
    }

    pub(crate) fn counter(&self) -> String {
        self.part("counter")
    }

    pub(crate) fn revision_index(&self) -> String {
        self.part("rev_idx")
    }

    pub(crate) fn trigger(&self, event: &str) -> String {
        self.part(event)
    }

    pub(crate) fn index(&self, on: &str) -> String {
        format!("{}_idx", self.part(on))
    }
}

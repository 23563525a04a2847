//! The promises of the framework, in a line each, and what there is to examine of them.

/// Whose it is to keep a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// A local store's and the engine's.
    Store,
    /// A remote's and the engine's.
    Remote,
    /// Everybody's.
    All,
}

/// One of P1 to P18.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    pub(super) keeper: Keeper,
}

const fn promise(name: &'static str, keeper: Keeper, text: &'static str) -> Promise {
    Promise { name, text, keeper }
}

pub(super) const PROMISES: [Promise; 18] = [
    promise(
        "P1",
        Keeper::Store,
        "A write, its operation and the clock are committed together",
    ),
    promise(
        "P2",
        Keeper::Store,
        "A page, its merges and the sync point are committed together",
    ),
    promise("P3", Keeper::Store, "Nothing the user wrote is dropped silently"),
    promise(
        "P4",
        Keeper::All,
        "The sync point is opaque, and a lost history is told",
    ),
    promise("P5", Keeper::Remote, "No row is skipped"),
    promise("P6", Keeper::All, "Deletes arrive and stay"),
    promise("P7", Keeper::All, "Each operation takes effect once"),
    promise("P8", Keeper::All, "No write is overwritten unseen"),
    promise(
        "P9",
        Keeper::All,
        "Order is kept, and one bad operation stops no other",
    ),
    promise(
        "P10",
        Keeper::All,
        "A malformed row is set aside, and the others go on",
    ),
    promise("P11", Keeper::All, "No wake-up is lost"),
    promise("P12", Keeper::All, "One synchronization of a scope at a time"),
    promise("P13", Keeper::All, "Retries know why they retry"),
    promise("P14", Keeper::All, "Nothing crosses a scope"),
    promise("P15", Keeper::All, "A query means the same everywhere"),
    promise("P16", Keeper::All, "Merging is deterministic and causal"),
    promise("P17", Keeper::All, "Costs follow what changed"),
    promise("P18", Keeper::Store, "A read says what it is"),
];

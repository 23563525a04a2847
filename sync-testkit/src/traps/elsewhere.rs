//! Traps that are no test here, and why.

/// A trap that is tested elsewhere, or that no client framework can fall into.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// Its source.
    pub source: &'static str,
    /// Why it is no test here.
    pub reason: &'static str,
}

/// Every such trap.
pub const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        source: "peers 36",
        reason: "One dead device pins the history of all: that is the server's log. A client of ours that is behind its horizon starts over and keeps its queue (`ghosts_after_forgotten_tombstones`).",
    },
    Elsewhere {
        source: "peers 37",
        reason: "Work per queued operation is a cost, not a result. Counted in sync-core's tests (`costs.rs`), where the store's rows are counted.",
    },
    Elsewhere {
        source: "peers 38",
        reason: "Cursors of several tables that tear one transaction need several collections, which traces do not have. Tested in sync-core (`batches.rs`: a read never shows half a write batch).",
    },
    Elsewhere {
        source: "RCS-11, RCS-12, RCS-27, RCS-44",
        reason: "Text forms of one backend's dates, empty values, filters and columns: tested in that backend's adapter.",
    },
    Elsewhere {
        source: "RCS-43",
        reason: "Events, status, deadlines and schema changes are features, tested in sync-core (`status.rs`, `driver.rs`, `schema.rs`).",
    },
    Elsewhere {
        source: "DDS-05, DDS-06, DDS-09",
        reason: "Rights and double entries of one server's own tables. What a client sees of them is in `scopes_are_not_asked_for` and `a_replay_after_a_lost_answer`.",
    },
    Elsewhere {
        source: "DDS-14",
        reason: "The half about rebuilding a view from a log: we keep none. The half about ties is `a_tie_goes_to_whoever_asks`.",
    },
    Elsewhere {
        source: "PS-02, PS-20, PS-21, PS-22, PS-G1-1, PS-G1-2, PS-G1-3",
        reason: "A server that trusts a header, tells news to strangers, or keeps its own log wrong: no client can mend that.",
    },
    Elsewhere {
        source: "PS-11, SN-07, SN-17",
        reason: "Ids that two devices give out alike are the app's choice. What happens then is not silent: `conflict-both-create-one-id` is a conflict like any other.",
    },
    Elsewhere {
        source: "PS-15",
        reason: "Device ids made of a model name: our nodes are random numbers, drawn at each start.",
    },
    Elsewhere {
        source: "PS-16, PS-18",
        reason: "A transaction helper that runs statements twice, and tables filled before tracking began: there is no way to write past the engine.",
    },
    Elsewhere {
        source: "SN-11, SN-12, SN-13, SN-16",
        reason: "Injection, tokens, migrations and audit logs of one server.",
    },
];

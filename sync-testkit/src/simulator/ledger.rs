//! What the simulation knows beside the parts under test: who wrote what, and what the remote told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use sync_core::{Delta, OpId, Payload, RecordKey, RecordState, RemoteState, Stamp, SyncScope, Target};

use super::{
    coverage::Coverage,
    executor::Owner,
    held::HeldRows,
    log::{EventLog, fingerprint},
};

/// So many violations are kept; one is enough to fail.
const MOST_VIOLATIONS: usize = 5;

/// A write of a user that was committed.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) device: usize,
    /// Its place in the order of all that is noted.
    pub(crate) moment: u64,
    /// The operation that carries it.
    pub(crate) seq: u64,
    pub(crate) stamp: Stamp,
    /// The record as the user saw it before.
    pub(crate) made_on: Option<Payload>,
    /// The record from then on; `None` = deleted.
    pub(crate) record: Option<Payload>,
}

/// The observer's book.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) log: EventLog,
    pub(crate) coverage: Coverage,
    violations: Vec<String>,
    /// What the remote held at each version that it told of.
    told: HashMap<u64, Option<Payload>>,
    /// The committed writes of users.
    pub(crate) history: BTreeMap<RecordKey, Vec<Committed>>,
    /// Texts that users' commits wrote, by device.
    texts: HashSet<u64>,
    /// How many writes were to write a text.
    wanted: HashMap<u64, u32>,
    /// How much was noted that has a place in an order.
    moments: u64,
    /// When each process last looked at its queue for what to send from a scope, by the fingerprint of its name.
    looked_at_queue: HashMap<(Owner, u64), u64>,
    /// Records whose outcome does not follow from the users' writes alone.
    pub(crate) inexact: BTreeSet<RecordKey>,
    /// As `inexact`, of every record.
    pub(crate) all_inexact: bool,
    /// Operations that took effect since the last restored backup.
    pub(crate) took_effect: HashSet<OpId>,
    /// Operations that took effect at any time.
    pub(crate) ever_took_effect: HashSet<OpId>,
    /// How often a backup was restored.
    pub(crate) restores: u64,
    /// Devices whose app gives operations up at the moment.
    pub(crate) discarding: BTreeSet<usize>,
    /// Devices whose app gives records up at the moment.
    pub(crate) giving_up: BTreeSet<usize>,
    /// Whether a schema version changed, so that payloads differ from what the remote told.
    pub(crate) upgraded: bool,
    /// How many commits changed records, and how many requests changed the remote.
    pub(crate) activity: u64,
    /// Scopes that were revoked at some time, by name.
    pub(crate) revoked: BTreeSet<String>,
    /// How many rows were pulled.
    pub(crate) rows_pulled: u64,
    /// Rows on their way into a store.
    pub(crate) held: HeldRows,
    /// Targets that a device has asked for from their beginning.
    asked: HashSet<(usize, u64)>,
    /// Targets of which a process was told that there is more.
    unfinished: HashSet<(Owner, u64)>,
}

impl Ledger {
    pub(crate) fn new(keep_lines: bool) -> Self {
        Self {
            log: EventLog::new(keep_lines),
            coverage: Coverage::default(),
            violations: Vec::new(),
            told: HashMap::new(),
            history: BTreeMap::new(),
            texts: HashSet::new(),
            wanted: HashMap::new(),
            moments: 0,
            looked_at_queue: HashMap::new(),
            inexact: BTreeSet::new(),
            all_inexact: false,
            took_effect: HashSet::new(),
            ever_took_effect: HashSet::new(),
            restores: 0,
            discarding: BTreeSet::new(),
            giving_up: BTreeSet::new(),
            upgraded: false,
            activity: 0,
            revoked: BTreeSet::new(),
            rows_pulled: 0,
            held: HeldRows::default(),
            asked: HashSet::new(),
            unfinished: HashSet::new(),
        }
    }

    pub(crate) fn violation(&mut self, now: Duration, what: String) {
        self.log.event(now, format_args!("VIOLATION: {what}"));
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push(what);
        }
    }

    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// The remote told this state of a record, or is known to have it.
    pub(crate) fn tell(&mut self, key: &RecordKey, state: &RemoteState) {
        if let Some(version) = state.version() {
            let name = fingerprint(&(key, version.token()));
            self.told.insert(name, state.payload().cloned());
        }
    }

    /// What the remote held at the version of this state; `None` if it never told of it.
    pub(crate) fn told(&self, key: &RecordKey, state: &RemoteState) -> Option<&Option<Payload>> {
        let version = state.version()?;
        self.told.get(&fingerprint(&(key, version.token())))
    }

    pub(crate) fn wrote(&mut self, device: usize, key: &RecordKey, text: &str) {
        self.texts.insert(fingerprint(&(device, key, text)));
    }

    /// The next place in the order of all that is noted: much happens at one time.
    pub(crate) fn next_moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }

    /// A process looks at its queue for what to send from a scope.
    pub(crate) fn looks_at_queue(&mut self, owner: Owner, scope: &SyncScope) {
        let moment = self.next_moment();
        let looked = (owner, fingerprint(scope.key().as_str()));
        self.looked_at_queue.insert(looked, moment);
    }

    /// Whether the first of a record's operations was written after a process had last looked at its queue.
    pub(crate) fn was_written_since_look(&self, owner: Owner, device: usize, state: &RecordState) -> bool {
        let scope = fingerprint(state.key.scope().key().as_str());
        let looked = self.looked_at_queue.get(&(owner, scope));
        let head = state.ops.first().map(|op| op.seq);
        let history = self.history.get(&state.key).into_iter().flatten();
        let of_head = history.filter(|write| write.device == device && Some(write.seq) == head);
        let written = of_head.map(|write| write.moment).min();
        written
            .zip(looked)
            .is_some_and(|(written, looked)| written > *looked)
    }

    /// A process pulled a page.
    pub(crate) fn pulls(&mut self, owner: Owner, target: &Target, delta: &Delta) {
        let of = (owner, fingerprint(target));
        self.rows_pulled += delta.changes.len() as u64;
        if delta.has_more {
            self.unfinished.insert(of);
        } else {
            self.unfinished.remove(&of);
        }
    }

    /// A device asks for a target from its beginning. Tells whether it never did before.
    pub(crate) fn asks_first(&mut self, device: usize, target: &Target) -> bool {
        self.asked.insert((device, fingerprint(target)))
    }

    /// Whether the last page of a target that a process pulled said that there is more.
    pub(crate) fn is_unfinished(&self, owner: Owner, target: &Target) -> bool {
        self.unfinished.contains(&(owner, fingerprint(target)))
    }

    /// A user is about to write this text.
    pub(crate) fn wants(&mut self, device: usize, key: &RecordKey, text: &str) {
        *self.wanted.entry(fingerprint(&(device, key, text))).or_default() += 1;
    }

    /// Whether no other write on the device was to write this text: then it tells which write it is of.
    pub(crate) fn is_wanted_once(&self, device: usize, key: &RecordKey, text: &str) -> bool {
        self.wanted.get(&fingerprint(&(device, key, text))) == Some(&1)
    }

    /// Whether a user's commit on the device wrote this text.
    pub(crate) fn has_written(&self, device: usize, key: &RecordKey, text: &str) -> bool {
        self.texts.contains(&fingerprint(&(device, key, text)))
    }
}

//! What a trace can say.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The fields of a record in a trace.
pub type Fields = Map<String, Value>;

/// The scope of a step that names none.
pub const DEFAULT_SCOPE: &str = "s1";

/// One scenario: what is set up, what happens, and what must hold at the end.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The name of the trace.
    pub id: String,
    /// What it is about, for the summary.
    pub area: String,
    /// The line of the file it stands in, from 1.
    pub line: usize,
    /// The circumstances.
    pub config: Config,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What must hold at the end.
    pub expect: Vec<Expectation>,
    /// Single events of a hybrid logical clock.
    pub vectors: Vec<Vector>,
}

/// The circumstances of a trace.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Who decides conflicts.
    pub resolver: Strategy,
    /// Who decides them in single scopes instead.
    pub scope_resolver: BTreeMap<String, Strategy>,
    /// Changes asked for in one page.
    pub page_size: Option<u32>,
    /// Operations in one push.
    pub push_batch: Option<u32>,
    /// Rows that the server gives in one page, whatever was asked for.
    pub server_max_rows: Option<u32>,
    /// What the server changes in each record on its way in.
    pub server_transform: Vec<Transform>,
    /// What the app does about a refused operation.
    pub on_reject: Option<OnReject>,
    /// Whether a number in `at` is what the writer's clock shows, and the engine's hybrid clock makes the stamp. If
    /// not, it is the stamp itself.
    pub hybrid_clock: bool,
}

/// Who decides conflicts.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Strategy {
    /// The later write.
    #[default]
    LastWriteWins,
    /// The remote value.
    ServerWins,
    /// The local value.
    ClientWins,
    /// Changes of different fields are both kept.
    FieldMerge {
        /// Whether a delete wins over an edit, whichever is later.
        delete_wins: bool,
    },
    /// As a field merge; of one field the greater number stays.
    Max(String),
    /// As a field merge, with one field set to a constant.
    Constant(String, Value),
    /// The user.
    Manual,
    /// The pending writes are given up.
    Discard,
    /// A last-write-wins register for each field: not supported yet.
    FieldRegisters,
}

/// What the server does to a record on its way in.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// Sets a field.
    Set(String, Value),
    /// Turns a text into upper case.
    Upper(String),
    /// Turns a text into lower case.
    Lower(String),
    /// Cuts white space off both ends of a text.
    Trim(String),
}

/// What the app does about an operation that the remote refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// It gives the operation up; the last confirmed state returns.
    Rollback,
    /// It leaves the record as the user wrote it.
    Keep,
}

/// Who acts in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A device.
    Client(String),
    /// A third party that works on the remote.
    ThirdParty,
    /// The remote, looked at.
    Remote,
    /// Nobody in particular: time, or everyone.
    Nobody,
}

/// When a write is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// After everything before.
    #[default]
    Now,
    /// With this stamp.
    Stamp(i64),
}

/// One step of a trace.
#[derive(Clone, Debug)]
pub struct Step {
    /// Who acts.
    pub actor: Actor,
    /// What is done.
    pub action: Action,
    /// When a write is made.
    pub at: At,
    /// The place, among all steps, of the step that sends this write: of two writes with one stamp, the one that is
    /// stored first stays.
    pub sent_at: Option<u64>,
    /// The scope, if the step names one.
    pub scope: Option<String>,
    /// What goes wrong meanwhile.
    pub faults: Vec<Fault>,
    /// The faults strike in this scope alone; without faults, no other scope can be reached.
    pub only_scope: Option<String>,
    /// Whether the step must fail.
    pub must_fail: bool,
    /// Whether a write counts only if the remote takes it now.
    pub require_remote: bool,
    /// Happens when the server has applied the first push and the client has not seen the answer.
    pub during_push: Vec<Step>,
    /// Happens when the server has answered the first pull and the client has not seen the answer.
    pub during_pull: Vec<Step>,
    /// Happens after the first page, before the second is asked for.
    pub between_pages: Vec<Step>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Makes a record.
    Create(String, Fields),
    /// Changes fields of a record.
    Update(String, Fields),
    /// Deletes a record.
    Delete(String),
    /// Makes many records, one by one.
    BulkCreate(Vec<(String, Fields)>),
    /// Changes many records, one by one.
    BulkUpdate(Vec<(String, Fields)>),
    /// Pushes, then pulls.
    Sync,
    /// Pushes.
    Push,
    /// Pulls.
    Pull,
    /// Pushes, pulls everything anew, and drops what the remote does not have.
    FullResync,
    /// So many syncs at once, from two engines over one store.
    SyncParallel(usize),
    /// Ends the engine and opens the store again.
    Restart,
    /// The upkeep of the local store.
    Compact,
    /// Removes everything from the device, pending operations included.
    Reset,
    /// Removes records and sync points from the device, and keeps pending operations.
    WipeCache,
    /// Forgets how far the pulls came.
    ResetCursor,
    /// Evicts one record, which is no delete.
    Purge(String),
    /// Gives up the pending operations of one record, or all.
    Discard(Option<String>),
    /// The client keeps the scope from now on.
    Subscribe,
    /// The client does not keep the scope any more.
    DropScope,
    /// The client's clock is off by so much.
    ClockOffset(i64),
    /// The client's n-th push request, from 1, arrives once more.
    Redeliver(usize),
    /// The user decides an open conflict.
    Resolve(String, Choice, Fields),
    /// Reads the records of the scope.
    Read(ReadPolicy, Option<Rows>, Option<u64>),
    /// Looks at the client.
    Assert(Assertions),
    /// Faults end, and everyone synchronizes until nothing happens any more.
    Settle,
    /// So many seconds go by.
    Tick(f64),
    /// The third party writes fields of a record.
    Put(String, Fields),
    /// The third party writes many records.
    BulkPut(Vec<(String, Fields)>),
    /// The third party deletes a record.
    Remove(String),
    /// A row is gone without a tombstone.
    Vanish(String),
    /// The third party moves a record into another scope.
    Move(String, String),
    /// The server forgets deletes, but for so many of its latest commits.
    Prune(u64),
    /// The server makes a backup.
    Snapshot(String),
    /// The server is put back to a backup, and begins a new epoch.
    Restore(String),
    /// The server gives or takes rights.
    SetAccess(Vec<Grant>),
}

/// A right of a client to a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The client; every client if `None`.
    pub client: Option<String>,
    /// The scope; every scope without a grant of its own if `None`.
    pub scope: Option<String>,
    /// What the client may do there.
    pub access: Access,
}

/// What a client may do in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read and write.
    Full,
}

/// What the user decides about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The local value.
    Local,
    /// The remote value.
    Remote,
    /// A merged value.
    Merged,
}

/// The cache policy of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPolicy {
    /// The store alone.
    OfflineOnly,
    /// The store at once, and a refresh behind.
    LocalFirst,
    /// A sync first; the store if that fails.
    RemoteFirst,
    /// A sync first; an error if that fails.
    OnlineOnly,
}

/// What is looked at in an `assert` step.
#[derive(Clone, Debug, Default)]
pub struct Assertions {
    /// The records the app sees.
    pub rows: Option<Rows>,
    /// Operations that are still to be sent.
    pub pending: Option<u64>,
    /// Push requests that left the device so far.
    pub pushes: Option<u64>,
    /// Conflicts.
    pub conflicts: Option<u64>,
    /// Operations that wait for the user.
    pub dead: Option<u64>,
    /// Whether the scope was once pulled to the end.
    pub synced_once: Option<bool>,
    /// How many records the app sees.
    pub count: Option<u64>,
    /// Requests made so far.
    pub requests: Option<u64>,
    /// Rows that the last pull brought.
    pub last_pull_rows: Option<u64>,
}

/// The records that must be there: exactly these ids.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// What each row must look like; see [`crate::traces`] for the patterns.
    Patterns(BTreeMap<String, Value>),
    /// Only their number.
    Number(u64),
}

/// What goes wrong during a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device has no network.
    Offline,
    /// Requests do not arrive.
    LostRequest,
    /// Pushes take effect, their answers are lost.
    LostAnswer,
    /// Pushes arrive twice.
    Duplicate,
    /// The server fails before it does anything about a push.
    PushServerError,
    /// The server fails to answer reads.
    PullServerError,
    /// Answers to pulls are lost.
    LostPull,
    /// Answers to pulls end in the middle.
    TruncatedPull,
    /// Answers to pulls carry a sync point that cannot be read.
    BadCursor,
    /// The local store is locked.
    StoreBusy,
    /// The disk is full.
    DiskFull,
    /// The sign-in has expired.
    Unauthenticated,
    /// The server asks for fewer requests.
    RateLimited,
    /// The process ends at this moment, and is started again.
    Crash(Moment),
    /// The caller gives up waiting at this moment.
    Cancel(Moment),
    /// The server does not apply these operations now.
    Retryable(Vec<OpPattern>),
    /// The server refuses these operations for good.
    Reject(Vec<OpPattern>),
    /// The connection breaks after so many pages.
    FailAfterPages(u32),
}

/// Moments of a synchronization (the last two also of a local write).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the first push leaves.
    BeforePush,
    /// When the server has applied the first push, before the client sees the answer.
    AfterPush,
    /// While a page is committed.
    MidApply,
    /// Right after a page was committed.
    AfterApply,
}

/// Which operations a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpPattern {
    /// `create`, `update` or `delete`; any if `None`.
    pub kind: Option<&'static str>,
    /// The record's id.
    pub id: String,
}

/// What must hold at the end of a trace.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// The records of a client.
    Client(String, Rows),
    /// The records of the remote.
    Remote(Rows),
    /// A count over all clients, or of each.
    Count(CountWord, Expected),
    /// How many operations of clients took effect.
    ServerApplied(Expected),
    /// The most that may have taken effect.
    ServerAppliedMax(Expected),
    /// Which operations took effect, in order.
    ServerOps(ServerOps),
    /// The most operations in one push request.
    MaxPushBatch(u64),
    /// Whether all clients and the remote hold the same, with nothing pending.
    Converged(bool),
}

/// The counts of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountWord {
    /// See [`Assertions::pending`].
    Pending,
    /// See [`Assertions::conflicts`].
    Conflicts,
    /// See [`Assertions::dead`].
    Dead,
    /// See [`Assertions::pushes`].
    Pushes,
    /// See [`Assertions::count`].
    Rows,
}

/// A number, or one for each name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// One number for all.
    All(u64),
    /// One for each client or record.
    Each(BTreeMap<String, u64>),
}

/// The operations that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerOps {
    /// Only their number.
    Number(u64),
    /// All of them, in order.
    List(Vec<OpPattern>),
    /// The kinds for single records, in order.
    PerRecord(BTreeMap<String, Vec<String>>),
}

/// One event of a hybrid logical clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// The stamp that is received; `None` for a local event.
    pub received: Option<(u64, u64)>,
    /// The clock's last time and counter.
    pub local: (u64, u64),
    /// The physical time.
    pub now: i64,
    /// How far ahead a received stamp may be; the default of the engine if `None`.
    pub max_ahead: Option<u64>,
    /// What must come of it.
    pub want: WantedStamp,
}

/// What must come of an event of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedStamp {
    /// This time and counter.
    Stamp(u64, u64),
    /// The received stamp is refused as too far ahead.
    Drift,
    /// The counter does not wrap.
    Overflow,
}

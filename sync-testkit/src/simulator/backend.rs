//! What a remote brings to be simulated: the double of a backend, and what only its operator can do to it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use sync_core::{
    ChangedFields, Clock, OpId, OpKind, Payload, PushOp, RecordId, RecordKey, RemoteState, RemoteStore,
    RemoteStoreExt, Result, Stamp, SyncPoint, SyncScope, Target, Timer,
};
use uuid::Uuid;

use super::plan::Profile;

/// Makes a backend for each simulation. Implement this to simulate your own remote.
pub trait Backends: Send + Sync {
    /// An empty backend of this profile. Its time comes from `clock`, and whatever waits in it waits on `timer`:
    /// real time, threads and unseeded randomness would make runs differ.
    fn make(&self, profile: Profile, clock: Arc<dyn Clock>, timer: Arc<dyn Timer>) -> Arc<dyn Backend>;

    /// The profiles that this backend can play. By default only the strongest, which stands for "as it is".
    fn profiles(&self) -> Vec<Profile> {
        vec![Profile::Strong]
    }
}

/// What an operator, or fate, does to a backend.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// A row is taken away without a tombstone and without news.
    Vanish(RecordKey),
    /// Someone else begins to write this (`None` = a delete), and takes its time for it.
    BeginLateCommit(RecordKey, Option<Payload>),
    /// Everything that was begun becomes visible.
    FinishLateCommits,
    /// A row that cannot be understood takes the place of a record; `None` = even its id cannot be read.
    PutMalformed(Target, Option<RecordId>, String),
    /// All tombstones are forgotten.
    CollectTombstones,
    /// Everything is put back to what it was at the last backup, or at the beginning. The new state is the next
    /// backup.
    RestoreBackup,
    /// A backup is made.
    TakeBackup,
    /// A new epoch begins, with the data as it is.
    NewEpoch,
    /// Nobody may see this scope any more.
    Revoke(SyncScope),
    /// The scope may be seen again.
    Grant(SyncScope),
    /// The sign-in of one client expires.
    ExpireSignIn(usize),
    /// A client signs in again.
    SignIn(usize),
    /// The server's clock jumps, by microseconds in either direction.
    MoveClock(i64),
    /// The records with these ids are refused for good; no ids = everything is accepted again.
    Refuse(Vec<RecordKey>),
    /// The server changes records on their way in: it sets the field `srv` to `true`.
    ChangeRecords,
}

/// A remote under simulation.
///
/// Only [`Backend::connect`] is needed. What the other methods cannot do by default is left out of the simulation:
/// the faults that need it never strike, and the checks that need it are not made.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// The connection of one client, with its own sign-in. Called once for each client; a client number beyond
    /// all others is the operator, who is never disturbed.
    fn connect(&self, client: usize) -> Arc<dyn RemoteStore>;

    /// Does something to the backend. Returns whether it can.
    fn operate(&self, operation: Operation) -> bool {
        let _ = operation;
        false
    }

    /// The live records of a target: the truth that every replica must come to.
    ///
    /// # Errors
    /// Those of the connection.
    async fn truth(&self, target: &Target) -> Result<BTreeMap<RecordId, Payload>> {
        let pages = self.connect(OPERATOR).pull_all(target, None, 100).await?;
        let mut truth = BTreeMap::new();
        for change in pages.into_iter().flat_map(|page| page.changes) {
            match change.state.payload() {
                Some(payload) => truth.insert(change.id, payload.clone()),
                None => truth.remove(&change.id),
            };
        }
        Ok(truth)
    }

    /// The state of a record right now, without a request. `None` if that cannot be told.
    fn peek(&self, key: &RecordKey) -> Option<RemoteState> {
        let _ = key;
        None
    }

    /// How often an operation took effect. `None` if that cannot be told.
    fn effects_of(&self, op_id: OpId) -> Option<u64> {
        let _ = op_id;
        None
    }

    /// Rows that cannot be understood, as they were put, with their ids if those can be read. `None` if that cannot
    /// be told.
    fn malformed(&self, target: &Target) -> Option<Vec<(Option<RecordId>, String)>> {
        let _ = target;
        None
    }

    /// Whether the first sync point is behind the second, of the same epoch. `None` if that cannot be told.
    fn is_behind(&self, one: &SyncPoint, other: &SyncPoint) -> Option<bool> {
        let _ = (one, other);
        None
    }

    /// Someone else writes a record, or deletes it. Returns whether that happened. By default it is pushed
    /// through the operator's connection.
    async fn write(&self, key: &RecordKey, payload: Option<Payload>, number: u64) -> bool {
        write_as_client(&*self.connect(OPERATOR), key, payload, number)
            .await
            .unwrap_or(false)
    }
}

/// The number of the operator's connection.
pub(crate) const OPERATOR: usize = usize::MAX;

async fn write_as_client(
    remote: &dyn RemoteStore,
    key: &RecordKey,
    payload: Option<Payload>,
    number: u64,
) -> Result<bool> {
    let current = remote.get_one(key).await?;
    let kind = match (&payload, current.is_live()) {
        (Some(_), true) => OpKind::Update,
        (Some(_), false) => OpKind::Create,
        (None, true) => OpKind::Delete,
        (None, false) => return Ok(false),
    };
    let op = PushOp {
        op_id: OpId::from_uuid(Uuid::from_u128(u128::from(number) << 64 | 0xF0E1)),
        key: key.clone(),
        kind,
        payload,
        changed: ChangedFields::All,
        base: current.version().cloned(),
        stamp: Stamp::new(0, 0, number),
        schema_version: 1,
    };
    let outcomes = remote.push_ops(key.scope(), vec![op]).await?;
    Ok(matches!(
        outcomes.first(),
        Some(sync_core::PushOutcome::Applied { .. })
    ))
}

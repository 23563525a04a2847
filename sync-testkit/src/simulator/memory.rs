//! The memory remote as a backend: it can do and tell everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adapter_memory::{Backup, LateCommit, MemoryRemoteStore, Rejection};
use async_trait::async_trait;
use sync_core::{
    Clock, DeleteVisibility, OpId, Payload, RecordId, RecordKey, RemoteState, RemoteStore, Result, SyncPoint,
    Target, Timer,
};

use super::{
    backend::{Backend, Backends, Operation},
    plan::Profile,
};

/// Makes backends of [`MemoryRemoteStore`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryBackends;

impl Backends for MemoryBackends {
    fn make(&self, profile: Profile, clock: Arc<dyn Clock>, timer: Arc<dyn Timer>) -> Arc<dyn Backend> {
        Arc::new(MemoryBackend::new(profile, clock, timer))
    }

    fn profiles(&self) -> Vec<Profile> {
        Profile::ALL.to_vec()
    }
}

/// One backend in memory.
pub struct MemoryBackend {
    remote: MemoryRemoteStore,
    state: Mutex<State>,
    refused: Arc<Mutex<BTreeSet<RecordKey>>>,
}

struct State {
    clients: BTreeMap<usize, MemoryRemoteStore>,
    late: Vec<LateCommit>,
    backup: Backup,
    skew: i64,
    /// What was put in places that nobody understands.
    malformed: BTreeMap<(Target, Option<RecordId>), String>,
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryBackend").field(&self.remote).finish()
    }
}

impl MemoryBackend {
    /// An empty one.
    pub fn new(profile: Profile, clock: Arc<dyn Clock>, timer: Arc<dyn Timer>) -> Self {
        let builder = MemoryRemoteStore::builder();
        let builder = match profile {
            Profile::Strong => builder,
            Profile::Small => builder.adjust(|can| {
                can.max_page = 3;
                can.max_push_batch = 3;
            }),
            Profile::Forgetful => builder.adjust(|can| can.idempotent_push = false),
            Profile::Stampless => builder.adjust(|can| can.stamps = false),
            Profile::Plain => builder.adjust(|can| {
                can.atomic_batch = false;
                can.id_list = false;
            }),
            Profile::Timestamp => builder.timestamp_profile(Duration::from_secs(5)),
            Profile::Snapshot => builder.snapshot_profile(),
        };
        let remote = builder.clock(clock).timer(timer).build();
        let refused: Arc<Mutex<BTreeSet<RecordKey>>> = Arc::default();
        let list = Arc::clone(&refused);
        remote.set_validator(move |op| {
            let refused = list.lock().unwrap_or_else(PoisonError::into_inner);
            (!refused.is_empty() && refused.contains(&op.key))
                .then(|| Rejection::new(REFUSED, "the server refuses this record"))
        });
        let state = State {
            clients: BTreeMap::new(),
            late: Vec::new(),
            backup: remote.backup(),
            skew: 0,
            malformed: BTreeMap::new(),
        };
        Self {
            remote,
            state: Mutex::new(state),
            refused,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, client: usize) -> MemoryRemoteStore {
        let mut state = self.state();
        let handle = state.clients.entry(client);
        handle.or_insert_with(|| self.remote.another_client()).clone()
    }
}

/// The code that refused records are answered with.
pub(crate) const REFUSED: &str = "refused";

#[async_trait]
impl Backend for MemoryBackend {
    fn connect(&self, client: usize) -> Arc<dyn RemoteStore> {
        Arc::new(self.client(client))
    }

    fn operate(&self, operation: Operation) -> bool {
        let can = self.remote.capabilities();
        match operation {
            Operation::Vanish(key) => {
                let live = self.remote.state_of(&key).is_live();
                // A backend with tombstones makes them itself, whoever deletes.
                if !live || can.deletes == DeleteVisibility::Tombstones {
                    return false;
                }
                self.remote.vanish(&key);
            }
            Operation::BeginLateCommit(key, payload) => {
                let late = self.remote.begin_late_commit(&key, payload);
                self.state().late.push(late);
            }
            Operation::FinishLateCommits => {
                let late = std::mem::take(&mut self.state().late);
                let any = !late.is_empty();
                for commit in late {
                    commit.commit();
                }
                return any;
            }
            Operation::PutMalformed(target, id, raw) => {
                self.remote.put_malformed(&target, id.as_ref(), raw.clone());
                self.state().malformed.insert((target, id), raw);
            }
            Operation::CollectTombstones => self.remote.prune_tombstones(self.remote.head()),
            // Without epochs a rewound backend does not know that anything is wrong, and neither can a client.
            Operation::RestoreBackup | Operation::NewEpoch if !can.epoch => return false,
            Operation::RestoreBackup => {
                let mut state = self.state();
                self.remote.restore(&state.backup);
                state.malformed.clear();
                state.late.clear();
                state.backup = self.remote.backup();
            }
            Operation::TakeBackup => self.state().backup = self.remote.backup(),
            Operation::NewEpoch => self.remote.restore(&self.remote.backup()),
            Operation::Revoke(scope) => self.remote.set_access(&scope, false),
            Operation::Grant(scope) => self.remote.set_access(&scope, true),
            Operation::ExpireSignIn(client) => self.client(client).expire_token(),
            Operation::SignIn(client) => self.client(client).sign_in(),
            Operation::MoveClock(micros) => {
                let mut state = self.state();
                state.skew += micros;
                self.remote.set_clock_skew(state.skew);
            }
            Operation::Refuse(keys) => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                if keys.is_empty() {
                    refused.clear();
                } else {
                    refused.extend(keys);
                }
            }
            Operation::ChangeRecords => self.remote.set_server_transform(|_, payload| {
                let Ok(mut fields) = payload.to_object() else {
                    return payload;
                };
                fields.insert("srv".to_owned(), true.into());
                Payload::from_object(&fields)
            }),
        }
        true
    }

    async fn truth(&self, target: &Target) -> Result<BTreeMap<RecordId, Payload>> {
        Ok(self.remote.dump(target))
    }

    fn peek(&self, key: &RecordKey) -> Option<RemoteState> {
        Some(self.remote.state_of(key))
    }

    fn effects_of(&self, op_id: OpId) -> Option<u64> {
        Some(self.remote.applied_count(op_id))
    }

    fn malformed(&self, target: &Target) -> Option<Vec<(Option<RecordId>, String)>> {
        let state = self.state();
        let still_there = |(place, _): &(&(Target, Option<RecordId>), &String)| match &place.1 {
            Some(id) => self
                .remote
                .is_malformed(&RecordKey::new(target.clone(), id.clone())),
            None => true,
        };
        let here = state.malformed.iter().filter(|(place, _)| place.0 == *target);
        let told = here.filter(still_there);
        Some(told.map(|(place, raw)| (place.1.clone(), raw.clone())).collect())
    }

    fn is_behind(&self, one: &SyncPoint, other: &SyncPoint) -> Option<bool> {
        self.remote.is_behind(one, other)
    }

    async fn write(&self, key: &RecordKey, payload: Option<Payload>, _: u64) -> bool {
        match payload {
            Some(payload) => {
                self.remote.put(key, payload);
                true
            }
            None if self.remote.state_of(key).is_live() => {
                self.remote.delete(key);
                true
            }
            None => false,
        }
    }
}

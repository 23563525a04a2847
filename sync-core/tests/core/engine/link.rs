//! The way from a device to a remote: counted, and cut or clogged at will.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adapter_memory::MemoryRemoteStore;
use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    Capabilities, Delta, ErrorKind, IdPage, Poke, PullRequest, PushBatch, PushOutcome, RecordId, RemoteState,
    RemoteStore, Result, SearchPage, SyncError, SyncScope, Target, Timestamp, query::QuerySpec,
};

/// What happens to calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Traffic {
    /// They go through.
    #[default]
    Flows,
    /// They fail at once.
    Refused,
    /// They never end.
    Hangs,
    /// They take so long, then go through.
    Takes(Duration),
}

#[derive(Debug, Default)]
struct State {
    traffic: Traffic,
    calls: BTreeMap<&'static str, u64>,
}

/// A remote behind a link. Clones share the link.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    remote: MemoryRemoteStore,
    state: Arc<Mutex<State>>,
}

impl Link {
    pub(crate) fn to(remote: &MemoryRemoteStore) -> Self {
        Self {
            remote: remote.clone(),
            state: Arc::default(),
        }
    }

    pub(crate) fn set(&self, traffic: Traffic) {
        self.state().traffic = traffic;
    }

    /// How many calls were made, of all kinds.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls.values().sum()
    }

    /// How many calls of this name were made.
    pub(crate) fn calls_of(&self, name: &str) -> u64 {
        self.state().calls.get(name).copied().unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self, call: &'static str) -> Result<()> {
        let traffic = {
            let mut state = self.state();
            *state.calls.entry(call).or_default() += 1;
            state.traffic
        };
        match traffic {
            Traffic::Flows => Ok(()),
            Traffic::Refused => Err(SyncError::new(ErrorKind::Unreachable, "the link is cut")),
            Traffic::Hangs => std::future::pending().await,
            Traffic::Takes(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl RemoteStore for Link {
    fn name(&self) -> &str {
        self.remote.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.remote.capabilities()
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        self.pass("pull").await?;
        self.remote.pull(request).await
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        self.pass("push").await?;
        self.remote.push(batch).await
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        self.pass("get").await?;
        self.remote.get(target, ids).await
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        self.pass("list_ids").await?;
        self.remote.list_ids(target, after, limit).await
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        self.pass("search").await?;
        self.remote.search(target, spec).await
    }

    async fn server_time(&self) -> Result<Timestamp> {
        self.pass("server_time").await?;
        self.remote.server_time().await
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        self.pass("subscribe").await?;
        self.remote.subscribe(scope).await
    }
}

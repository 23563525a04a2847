//! Pulls of a naive client.

use std::collections::BTreeSet;

use sync_core::{
    Delta, DeltaKind, ErrorKind, OpKind, PullRequest, RecordKey, RemoteState, Result, SyncPoint, SyncScope,
};

use super::{ClientMistake, Kept, NaiveClient, fields_of, key_in};
use crate::traces::{device::target, script::Point};

impl NaiveClient {
    /// Pulls to the end; from nothing if `anew`.
    pub(in crate::traces) async fn pull(&self, scope: &SyncScope, anew: bool) -> Result<()> {
        if self.has(ClientMistake::OnlyAppliesEvents) {
            return Ok(());
        }
        if anew || self.has(ClientMistake::FetchesEverything) {
            self.kept().cursors.remove(scope);
        }
        self.kept().pulling = true;
        let result = self.pages(scope).await;
        self.kept().pulling = false;
        match result {
            Err(error) if error.kind() == ErrorKind::ResyncRequired => {
                if self.has(ClientMistake::IgnoresResync) {
                    return Ok(());
                }
                if self.has(ClientMistake::ResyncDropsQueue) {
                    let mut kept = self.kept();
                    kept.ops.clear();
                    kept.rows.clear();
                }
                self.kept().cursors.remove(scope);
                self.pages(scope).await
            }
            Err(error) if error.kind() == ErrorKind::ScopeRevoked => {
                self.revoked(&mut self.kept(), scope);
                Err(error)
            }
            Err(error) if self.has(ClientMistake::FailedPullIsEmpty) => {
                self.move_cursor_to_now(scope).await?;
                Err(error)
            }
            other => other,
        }
    }

    async fn pages(&self, scope: &SyncScope) -> Result<()> {
        let mut since = self.kept().cursors.get(scope).cloned();
        let from_nothing = since.is_none();
        let mut seen: Option<BTreeSet<RecordKey>> = None;
        let mut together: Vec<Delta> = Vec::new();
        loop {
            let page = self.page(scope, since.clone()).await?;
            if page.kind == DeltaKind::Snapshot && from_nothing {
                let ids = page.changes.iter().filter(|change| change.state.is_live());
                let keys: Result<Vec<_>> = ids.map(|change| key_in(scope, &change.id)).collect();
                seen.get_or_insert_default().extend(keys?);
            }
            let (more, next) = (page.has_more, page.next.clone());
            since = Some(next);
            if self.has(ClientMistake::StoresPagesAtTheEnd) {
                together.push(page);
            } else {
                self.apply(scope, page).await?;
            }
            if !more || self.has(ClientMistake::OnePageIsAll) {
                break;
            }
        }
        for page in together {
            self.apply(scope, page).await?;
        }
        if let Some(seen) = seen.filter(|_| !self.has(ClientMistake::ResyncKeepsGhosts)) {
            let mut kept = self.kept();
            let pending: BTreeSet<RecordKey> = kept.ops.iter().map(|op| op.key.clone()).collect();
            kept.rows.retain(|key, row| {
                key.scope() != scope || seen.contains(key) || pending.contains(key) || row.view.is_none()
            });
        }
        self.kept().synced.insert(scope.clone());
        if self.has(ClientMistake::CursorIsNow) {
            self.move_cursor_to_now(scope).await?;
        }
        Ok(())
    }

    async fn page(&self, scope: &SyncScope, since: Option<SyncPoint>) -> Result<Delta> {
        let holds_nothing = since.is_none()
            && !self.has(ClientMistake::AsksForTombstones)
            && !self.kept().rows.keys().any(|key| key.scope() == scope);
        self.remote
            .pull(PullRequest {
                target: target(scope)?,
                since,
                page_size: self.page_size,
                holds_nothing,
            })
            .await
    }

    async fn apply(&self, scope: &SyncScope, page: Delta) -> Result<()> {
        match self.check_store() {
            Err(_) if self.has(ClientMistake::IgnoresStoreErrors) => {
                self.kept().cursors.insert(scope.clone(), page.next);
                return Ok(());
            }
            other => other?,
        }
        if self.has(ClientMistake::CursorBeforeRows) {
            self.kept().cursors.insert(scope.clone(), page.next.clone());
        }
        self.script.reach(Point::MidApply).await;
        {
            let kept = &mut *self.kept();
            for change in page.changes {
                let key = key_in(scope, &change.id)?;
                self.apply_one(kept, key, change.state);
            }
            kept.cursors.insert(scope.clone(), page.next);
        }
        self.script.reach(Point::AfterApply).await;
        Ok(())
    }

    fn apply_one(&self, kept: &mut Kept, key: RecordKey, state: RemoteState) {
        let row = kept.rows.entry(key.clone()).or_default();
        if row.base.is_same_as(&state) && !self.has(ClientMistake::PullOverwritesPending) {
            return;
        }
        let older = matches!((state.stamp(), row.base.stamp()), (Some(new), Some(old)) if new < old);
        if older && self.has(ClientMistake::ClockBeatsCausality) {
            return;
        }
        if row.was_deleted && self.has(ClientMistake::DeletedStaysDeleted) {
            return;
        }
        if let Some(stamp) = state.stamp() {
            kept.stamp = kept.stamp.max(Some(stamp));
        }
        let row = kept.rows.entry(key.clone()).or_default();
        let first = kept.ops.iter().find(|op| op.key == key && !op.dead);
        match first {
            Some(op) if state.stamp() == Some(op.stamp) => {
                row.base = state;
                let done = op.op_id;
                kept.ops.retain(|op| op.op_id != done);
            }
            Some(op) if !self.has(ClientMistake::PullOverwritesPending) => {
                let stamp = op.stamp;
                kept.conflicts += 1;
                self.decide(kept, &key, stamp, state);
            }
            _ => {
                row.was_deleted |= !state.is_live();
                row.view = fields_of(&state);
                row.base = state.clone();
                if self.has(ClientMistake::EchoBecomesOperation)
                    && let (Some(fields), Some(stamp)) = (fields_of(&state), state.stamp())
                {
                    self.enqueue(kept, &key, OpKind::Update, Some(fields), stamp);
                }
            }
        }
    }

    /// The sync point of an answer that nobody looks at.
    pub(super) async fn move_cursor_to_now(&self, scope: &SyncScope) -> Result<()> {
        let mut since = self.kept().cursors.get(scope).cloned();
        loop {
            let request = PullRequest {
                target: target(scope)?,
                since,
                page_size: u32::MAX,
                holds_nothing: false,
            };
            let page = self.script.unseen(self.remote.pull(request)).await?;
            since = Some(page.next.clone());
            if !page.has_more {
                self.kept().cursors.insert(scope.clone(), page.next);
                return Ok(());
            }
        }
    }

    /// The client may no longer see the scope.
    pub(super) fn revoked(&self, kept: &mut Kept, scope: &SyncScope) {
        for op in kept.ops.iter_mut().filter(|op| op.key.scope() == scope) {
            op.dead = true;
        }
        if self.has(ClientMistake::KeepsRevokedRows) {
            return;
        }
        let pending: BTreeSet<RecordKey> = kept.ops.iter().map(|op| op.key.clone()).collect();
        kept.rows
            .retain(|key, _| key.scope() != scope || pending.contains(key));
        if !self.has(ClientMistake::KeepsCursorOfRevokedScope) {
            kept.cursors.remove(scope);
        }
    }
}

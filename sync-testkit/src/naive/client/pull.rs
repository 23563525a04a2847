//! Pulls of a naive client.

use std::collections::BTreeSet;

use sync_core::{
    Delta, DeltaKind, ErrorKind, OpKind, ParkReason, PullRequest, RecordKey, RemoteState, Result, SyncError,
    SyncPoint, SyncScope, Target,
};

use super::{ClientMistake, Kept, Moment, NaiveClient, keeping::Row, payload_of};

impl NaiveClient {
    /// Pulls to the end; from nothing if `anew`.
    pub(crate) async fn pull(&self, scope: &SyncScope, anew: bool) -> Result<()> {
        if self.has(ClientMistake::OnlyAppliesEvents) {
            return Ok(());
        }
        if anew || self.has(ClientMistake::FetchesEverything) {
            self.reset_cursor(scope);
        }
        for target in self.targets(scope) {
            self.pull_target(&target).await?;
        }
        self.kept().synced.insert(scope.clone());
        Ok(())
    }

    async fn pull_target(&self, target: &Target) -> Result<()> {
        self.kept().pulling = true;
        let mut result = self.pages(target).await;
        self.kept().pulling = false;
        let expired = |error: &SyncError| error.kind() == ErrorKind::ResyncRequired;
        if result.as_ref().is_err_and(expired) {
            if self.has(ClientMistake::IgnoresResync) {
                return Ok(());
            }
            if self.has(ClientMistake::ResyncDropsQueue) {
                let mut kept = self.kept();
                kept.ops.clear();
                kept.rows.clear();
            }
            self.kept().cursors.remove(target);
            result = self.pages(target).await;
        }
        match result {
            Err(error) if error.kind() == ErrorKind::ScopeRevoked => {
                self.revoked(&mut self.kept(), &target.scope);
                Err(error)
            }
            Err(error) if self.has(ClientMistake::FailedPullIsEmpty) => {
                self.move_cursor_to_now(target).await?;
                Err(error)
            }
            other => other,
        }
    }

    async fn pages(&self, target: &Target) -> Result<()> {
        let mut since = self.kept().cursors.get(target).cloned();
        let from_nothing = since.is_none();
        let mut seen: Option<BTreeSet<RecordKey>> = None;
        let mut together: Vec<Delta> = Vec::new();
        loop {
            let page = self.page(target, since.clone()).await?;
            if page.kind == DeltaKind::Snapshot && from_nothing {
                let ids = page.changes.iter().filter(|change| change.state.is_live());
                let keys = ids.map(|change| RecordKey::new(target.clone(), change.id.clone()));
                seen.get_or_insert_default().extend(keys);
            }
            let (more, next) = (page.has_more, page.next.clone());
            since = Some(next);
            if self.has(ClientMistake::StoresPagesAtTheEnd) {
                together.push(page);
            } else {
                self.apply(target, page).await?;
            }
            if !more || self.has(ClientMistake::OnePageIsAll) {
                break;
            }
        }
        for page in together {
            self.apply(target, page).await?;
        }
        if let Some(seen) = seen.filter(|_| !self.has(ClientMistake::ResyncKeepsGhosts)) {
            let mut kept = self.kept();
            let pending: BTreeSet<RecordKey> = kept.ops.iter().map(|op| op.key.clone()).collect();
            kept.rows.retain(|key, row| {
                key.target != *target || seen.contains(key) || pending.contains(key) || row.view.is_none()
            });
        }
        if self.has(ClientMistake::CursorIsNow) {
            self.move_cursor_to_now(target).await?;
        }
        Ok(())
    }

    async fn page(&self, target: &Target, since: Option<SyncPoint>) -> Result<Delta> {
        let is_held = |(key, row): (&RecordKey, &Row)| {
            key.target == *target && (row.view.is_some() || row.base != RemoteState::Missing)
        };
        let holds_nothing = since.is_none()
            && !self.has(ClientMistake::AsksForTombstones)
            && !self.kept().rows.iter().any(is_held);
        self.remote
            .pull(PullRequest {
                target: target.clone(),
                since,
                page_size: self.limits.page,
                holds_nothing,
            })
            .await
    }

    async fn apply(&self, target: &Target, page: Delta) -> Result<()> {
        match self.ground.check_store().await {
            Err(_) if self.has(ClientMistake::IgnoresStoreErrors) => {
                self.kept().cursors.insert(target.clone(), page.next);
                return Ok(());
            }
            other => other?,
        }
        if self.has(ClientMistake::CursorBeforeRows) {
            self.kept().cursors.insert(target.clone(), page.next.clone());
        }
        self.ground.reach(Moment::MidApply).await;
        {
            let kept = &mut *self.kept();
            for change in page.changes {
                let key = RecordKey::new(target.clone(), change.id);
                self.apply_one(kept, key, change.state);
            }
            kept.cursors.insert(target.clone(), page.next);
        }
        self.ground.reach(Moment::AfterApply).await;
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
        let first = kept.ops.iter().find(|op| op.key == key);
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
                row.view = payload_of(&state);
                row.base = state.clone();
                if self.has(ClientMistake::EchoBecomesOperation)
                    && let (Some(fields), Some(stamp)) = (payload_of(&state), state.stamp())
                {
                    self.enqueue(kept, &key, OpKind::Update, Some(fields), stamp);
                }
            }
        }
    }

    /// The sync point of an answer that nobody looks at.
    pub(super) async fn move_cursor_to_now(&self, target: &Target) -> Result<()> {
        let mut since = self.kept().cursors.get(target).cloned();
        loop {
            let request = PullRequest {
                target: target.clone(),
                since,
                page_size: u32::MAX,
                holds_nothing: false,
            };
            let page = self.ground.pull_unseen(&*self.remote, request).await?;
            since = Some(page.next.clone());
            if !page.has_more {
                self.kept().cursors.insert(target.clone(), page.next);
                return Ok(());
            }
        }
    }

    /// The client may no longer see the scope.
    pub(super) fn revoked(&self, kept: &mut Kept, scope: &SyncScope) {
        for op in kept.ops.iter_mut().filter(|op| op.key.scope() == scope) {
            op.dead.get_or_insert(ParkReason::ScopeRevoked);
        }
        if self.has(ClientMistake::KeepsRevokedRows) {
            return;
        }
        let pending: BTreeSet<RecordKey> = kept.ops.iter().map(|op| op.key.clone()).collect();
        kept.rows
            .retain(|key, _| key.scope() != scope || pending.contains(key));
        if !self.has(ClientMistake::KeepsCursorOfRevokedScope) {
            kept.cursors.retain(|target, _| target.scope != *scope);
        }
    }
}

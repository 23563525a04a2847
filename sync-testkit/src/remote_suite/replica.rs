//! A client in miniature: it applies deltas as the engine does, by the capabilities of the remote.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{Delta, DeltaKind, PullRequest, RecordId, RemoteChange, RemoteState, SyncPoint, Target};

use super::context::{FIELDS, RemoteContext, ensure_live};
use crate::case::{Stop, Verdict, ensure, ensure_eq};

/// More pages than any case can need: a remote that always has more would never end.
const MOST_PAGES: usize = 5_000;

#[derive(Debug)]
pub(super) struct Replica {
    target: Target,
    records: BTreeMap<RecordId, RemoteState>,
    since: Option<SyncPoint>,
}

impl Replica {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            records: BTreeMap::new(),
            since: None,
        }
    }

    /// Pulls one pass to its end, and gives its pages.
    pub(super) async fn pull(&mut self, context: &RemoteContext<'_>, page_size: u32) -> Verdict<Vec<Delta>> {
        let mut pass = self.begin_pass(page_size);
        while pass.step(self, context).await? {}
        Ok(pass.pages)
    }

    pub(super) fn begin_pass(&self, page_size: u32) -> Pass {
        Pass {
            page_size,
            pages: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Pulls, and then sweeps ids where the remote asks for it.
    pub(super) async fn sync(&mut self, context: &RemoteContext<'_>, page_size: u32) -> Verdict {
        let pages = self.pull(context, page_size).await?;
        if context.capabilities.needs_sweep() || pages.iter().any(|page| page.wants_sweep) {
            self.sweep(context).await?;
        }
        Ok(())
    }

    fn apply(&mut self, change: &RemoteChange) {
        match self.records.get(&change.id) {
            Some(known) if change.state.is_older_than(known) => {}
            _ => {
                self.records.insert(change.id.clone(), change.state.clone());
            }
        }
    }

    async fn sweep(&mut self, context: &RemoteContext<'_>) -> Verdict {
        let listed = list_all(context, &self.target, 100).await?;
        self.records
            .retain(|id, _| listed.iter().any(|(listed, _)| listed == id));
        let outdated: Vec<RecordId> = listed
            .into_iter()
            .filter(|(id, version)| {
                let known = self.records.get(id).and_then(RemoteState::version);
                known.is_none() || version.as_ref().is_some_and(|version| Some(version) != known)
            })
            .map(|(id, _)| id)
            .collect();
        let states = context.remote.get(&self.target, &outdated).await?;
        self.records.extend(outdated.into_iter().zip(states));
        Ok(())
    }

    /// Fails unless the replica holds exactly these records live, each with the fields of the remote.
    pub(super) async fn ensure_holds(&self, context: &RemoteContext<'_>, numbers: &[u64]) -> Verdict {
        let mut expected: Vec<RecordId> = numbers.iter().map(|number| context.id(*number)).collect();
        expected.sort();
        let live: Vec<RecordId> = self
            .records
            .iter()
            .filter(|(_, state)| state.is_live())
            .map(|(id, _)| id.clone())
            .collect();
        ensure_eq!(live, expected, "the live records that arrived");
        let truth = context.remote.get(&self.target, &expected).await?;
        for (id, truth) in expected.iter().zip(&truth) {
            let Some(record) = truth.payload() else {
                return Err(Stop::failed(format!("get says that {id} is {truth:?}")));
            };
            ensure_live(&self.records[id], record, &FIELDS)?;
        }
        Ok(())
    }

    pub(super) fn state(&self, id: &RecordId) -> RemoteState {
        self.records.get(id).cloned().unwrap_or_default()
    }
}

/// A pass under way, so that a case can write between its pages.
pub(super) struct Pass {
    page_size: u32,
    pub(super) pages: Vec<Delta>,
    seen: BTreeSet<RecordId>,
}

impl Pass {
    /// Pulls and applies the next page. `false` if it was the last.
    pub(super) async fn step(&mut self, replica: &mut Replica, context: &RemoteContext<'_>) -> Verdict<bool> {
        let request = PullRequest {
            target: replica.target.clone(),
            since: replica.since.clone(),
            page_size: self.page_size,
            holds_nothing: false,
        };
        let page = context.remote.pull(request).await?;
        ensure_page_fits(context, &page, self.page_size)?;
        for change in &page.changes {
            replica.apply(change);
            self.seen.insert(change.id.clone());
        }
        replica.since = Some(page.next.clone());
        let more = page.has_more;
        if let Some(first) = self.pages.first() {
            ensure_eq!(page.kind, first.kind, "the kind of a later page of one pass");
        }
        if !more && page.kind == DeltaKind::Snapshot {
            replica.records.retain(|id, _| self.seen.contains(id));
        }
        self.pages.push(page);
        ensure!(
            self.pages.len() < MOST_PAGES,
            "a pass has more than {MOST_PAGES} pages"
        );
        Ok(more)
    }
}

fn ensure_page_fits(context: &RemoteContext<'_>, page: &Delta, page_size: u32) -> Verdict {
    let changes = page.changes.len();
    ensure!(
        changes <= page_size as usize,
        "{changes} changes in a page of at most {page_size}"
    );
    let most = context.capabilities.max_page as usize;
    ensure!(
        most == 0 || changes <= most,
        "{changes} changes in a page, though `max_page` is {most}"
    );
    let missing = page
        .changes
        .iter()
        .find(|change| change.state == RemoteState::Missing);
    ensure!(
        missing.is_none(),
        "a delta tells a state that is neither live nor deleted: {missing:?}"
    );
    Ok(())
}

/// Every id of a target with its version, over pages of `limit`.
pub(super) async fn list_all(
    context: &RemoteContext<'_>,
    target: &Target,
    limit: u32,
) -> Verdict<Vec<(RecordId, Option<sync_core::RemoteVersion>)>> {
    let (mut ids, mut after) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = context.remote.list_ids(target, after.as_deref(), limit).await?;
        ensure!(
            page.ids.len() <= limit as usize,
            "{} ids in a page of at most {limit}",
            page.ids.len()
        );
        ids.extend(page.ids);
        after = page.next;
        if after.is_none() {
            return Ok(ids);
        }
    }
    Err(Stop::failed(format!(
        "a listing has more than {MOST_PAGES} pages"
    )))
}

//! Rows that were pulled and are not stored yet. They are lost with the process, and take its memory until then (P2, P17).
//!
//! How many there may be follows from how the engine pulls a scope. Pages wait together until their rows are enough:
//! `commit_rows`, or an eighth of what the synchronization has brought, whichever is more. Before a page is asked for they
//! are not, so with that page they are at most one row less than enough and a page. While they are being stored, fetching
//! goes on until as much waits again, and then waits itself. So twice that is held, never more.

use std::collections::{HashMap, VecDeque};

use sync_core::{Delta, SyncPoint, SyncScope, Target};
use uuid::Uuid;

use super::{executor::Owner, log::fingerprint};

/// A first pull commits together at least this part of what it has brought.
const FIRST_PULL_PART: usize = 8;

/// What a process was told to store together, and to ask for at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldLimits {
    pub(crate) commit_rows: usize,
    pub(crate) page: usize,
}

/// What every process holds of every scope, by the fingerprint of the scope's name.
#[derive(Debug, Default)]
pub(crate) struct HeldRows(HashMap<(Owner, u64), Synchronization>);

#[derive(Debug, Default)]
struct Synchronization {
    lease: Option<Uuid>,
    /// How many rows were pulled in it.
    pulled: usize,
    /// The pages of each target that were pulled and not stored, by the fingerprint of the target.
    pages: HashMap<u64, VecDeque<Page>>,
}

#[derive(Debug)]
struct Page {
    /// The sync point at its end.
    end: SyncPoint,
    rows: usize,
}

impl HeldRows {
    /// A process was granted a lease of a scope, given as its name; with another holder than before, a synchronization
    /// begins, and nothing is held.
    pub(crate) fn begin(&mut self, owner: Owner, scope: &str, lease: Uuid) {
        let known = self.0.entry((owner, fingerprint(scope))).or_default();
        if known.lease != Some(lease) {
            *known = Synchronization {
                lease: Some(lease),
                ..Synchronization::default()
            };
        }
    }

    /// A process pulled a page. Tells how many rows of the scope it holds by now, if those are more than may be.
    pub(crate) fn pull(
        &mut self,
        owner: Owner,
        target: &Target,
        since: Option<&SyncPoint>,
        delta: &Delta,
        limits: HeldLimits,
    ) -> Option<usize> {
        let known = self.0.entry((owner, name_of(&target.scope))).or_default();
        let rows = delta.changes.len() + delta.malformed.len();
        known.pulled += rows;
        let pages = known.pages.entry(fingerprint(target)).or_default();
        if pages.back().is_some_and(|last| Some(&last.end) != since) {
            // What does not go on where the last page ended is another beginning; that one was thrown away.
            pages.clear();
        }
        pages.push_back(Page {
            end: delta.next.clone(),
            rows,
        });
        let held = known.pages.values().flatten().map(|page| page.rows).sum();
        let enough = limits.commit_rows.max(known.pulled / FIRST_PULL_PART).max(1);
        (held > 2 * (enough - 1 + limits.page)).then_some(held)
    }

    /// A process has stored a target up to a sync point.
    pub(crate) fn store(&mut self, owner: Owner, target: &Target, end: &SyncPoint) {
        let known = self.0.get_mut(&(owner, name_of(&target.scope)));
        let Some(pages) = known.and_then(|known| known.pages.get_mut(&fingerprint(target))) else {
            return;
        };
        if let Some(last) = pages.iter().rposition(|page| page.end == *end) {
            pages.drain(..=last);
        }
    }
}

fn name_of(scope: &SyncScope) -> u64 {
    fingerprint(scope.key().as_str())
}

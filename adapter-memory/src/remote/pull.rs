//! Pulls: one page of changes, by the kind of cursor the backend has.

use std::ops::Bound;

use sync_core::{
    Capabilities, CursorKind, Delta, DeltaKind, MalformedRow, PullRequest, RecordId, RemoteChange, Result,
    Target,
};

use super::{
    cursor::Position,
    state::{Backend, Content, Row, Rows},
};

impl Backend {
    /// One page. `cap` is the most rows the backend gives in this one, whatever was asked for.
    pub(super) fn pull(&self, request: &PullRequest, cap: Option<u32>) -> Result<Delta> {
        self.check_access(&request.target.scope)?;
        let since = request
            .since
            .as_ref()
            .map(|since| self.position(since))
            .transpose()?;
        let size =
            page_size(&self.capabilities, request.page_size).min(cap.unwrap_or(u32::MAX).max(1)) as usize;
        let position = since.unwrap_or(match self.capabilities.cursor {
            CursorKind::TimestampWithRepair { .. } => Position::Since(i64::MIN),
            CursorKind::SnapshotOnly => Position::Everything { after: None },
            _ => Position::Snapshot {
                mark: self.data.sequence,
                tombstones: !request.holds_nothing,
                after: None,
            },
        });
        let target = &request.target;
        Ok(match position {
            Position::After(sequence) => self.changes_after(target, sequence, size),
            Position::Snapshot {
                mark,
                tombstones,
                after,
            } => {
                let more = |after| Position::Snapshot {
                    mark,
                    tombstones,
                    after,
                };
                self.everything(target, after, tombstones, size, more, Position::After(mark))
            }
            Position::Since(latest) => {
                let overlap = match self.capabilities.cursor {
                    CursorKind::TimestampWithRepair { overlap_ms } => {
                        i64::try_from(overlap_ms).unwrap_or(i64::MAX)
                    }
                    _ => 0,
                };
                self.scan(target, latest.saturating_sub(overlap), None, latest, size)
            }
            Position::Scan { at, after, latest } => self.scan(target, at, Some((at, after)), latest, size),
            Position::Everything { after } => {
                let more = |after| Position::Everything { after };
                self.everything(
                    target,
                    after,
                    false,
                    size,
                    more,
                    Position::Everything { after: None },
                )
            }
        })
    }

    /// Commit order: the changes after a sequence.
    fn changes_after(&self, target: &Target, sequence: i64, size: usize) -> Delta {
        let empty = Rows::default();
        let rows = self.data.rows.get(target).unwrap_or(&empty);
        let mut found = in_order(rows, Bound::Excluded(sequence), None);
        let page: Vec<_> = found.by_ref().take(size).collect();
        let has_more = found.next().is_some();
        // At the end, the whole log is covered: changes of other targets need not be looked at again.
        let next = match page.last() {
            Some((_, row)) if has_more => row.position,
            _ => sequence.max(self.data.sequence),
        };
        self.delta(DeltaKind::Incremental, page, Position::After(next), has_more)
    }

    /// Timestamps: the rows from a millisecond on. Nothing says that no row will still appear before it.
    fn scan(
        &self,
        target: &Target,
        from: i64,
        after: Option<(i64, RecordId)>,
        latest: i64,
        size: usize,
    ) -> Delta {
        let empty = Rows::default();
        let rows = self.data.rows.get(target).unwrap_or(&empty);
        let mut found = in_order(rows, Bound::Included(from), after);
        let page: Vec<_> = found.by_ref().take(size).collect();
        let has_more = found.next().is_some();
        let latest = page.last().map_or(latest, |(_, row)| latest.max(row.position));
        let next = match page.last() {
            Some((id, row)) if has_more => Position::Scan {
                at: row.position,
                after: (*id).clone(),
                latest,
            },
            _ => Position::Since(latest),
        };
        self.delta(DeltaKind::Incremental, page, next, has_more)
    }

    /// Every row, in the order of ids: a row that stays is never skipped, whatever changes between the pages.
    fn everything(
        &self,
        target: &Target,
        after: Option<RecordId>,
        tombstones: bool,
        size: usize,
        more: impl FnOnce(Option<RecordId>) -> Position,
        end: Position,
    ) -> Delta {
        let empty = Rows::default();
        let rows = self.data.rows.get(target).unwrap_or(&empty);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |row: &Row| tombstones || row.content != Content::Deleted;
        let mut found = rows
            .by_id
            .range((from, Bound::Unbounded))
            .filter(|(_, row)| wanted(row));
        let page: Vec<_> = found.by_ref().take(size).collect();
        let has_more = found.next().is_some();
        let next = match page.last() {
            Some((id, _)) if has_more => more(Some((*id).clone())),
            _ => end,
        };
        self.delta(DeltaKind::Snapshot, page, next, has_more)
    }

    fn delta(&self, kind: DeltaKind, page: Vec<(&RecordId, &Row)>, next: Position, has_more: bool) -> Delta {
        let mut delta = Delta {
            has_more,
            kind,
            server_time: self.told_time(),
            ..Delta::empty(self.sync_point(next))
        };
        for (id, row) in page {
            if let Content::Malformed { raw, named } = &row.content {
                let error = "the row is not a JSON object".to_owned();
                let id = named.then(|| id.clone());
                delta.malformed.push(MalformedRow {
                    id,
                    raw: raw.clone(),
                    error,
                });
            } else if let Some(state) = self.state(row) {
                delta.changes.push(RemoteChange {
                    id: id.clone(),
                    state,
                });
            }
        }
        delta
    }
}

/// The rows from a position on, in the order of positions and ids; `after` leaves out what was delivered of its
/// own position.
fn in_order(
    rows: &Rows,
    from: Bound<i64>,
    after: Option<(i64, RecordId)>,
) -> impl Iterator<Item = (&RecordId, &Row)> {
    let places = rows.by_position.range((from, Bound::Unbounded));
    places
        .flat_map(|(position, ids)| ids.iter().map(move |id| (position, id)))
        .filter(move |(position, id)| {
            after
                .as_ref()
                .is_none_or(|(at, after)| *position != at || *id > after)
        })
        .filter_map(|(_, id)| rows.by_id.get_key_value(id))
}

/// The page size within the backend's limit; 0 asks for the least.
pub(super) fn page_size(capabilities: &Capabilities, wanted: u32) -> u32 {
    let limit = if capabilities.max_page == 0 {
        u32::MAX
    } else {
        capabilities.max_page
    };
    wanted.clamp(1, limit)
}

//! Pulling from a plain server, by the time of the last write.
//!
//! That time is taken before a write waits for its turn to commit, so rows appear behind it. Three things mend
//! that: each pass reads the overlap again, the rows of the scope are counted, and the engine sweeps ids now and
//! then and whenever the count is not what the changes explain.

use std::{sync::atomic::Ordering, time::Duration};

use sync_core::{Delta, PullRequest, Result, Timestamp};
use sync_http::count_is_unexplained;

use crate::{
    client::{Caller, ListQuery},
    cursor::{Cursor, PlainCursor, Scan},
    filter::{self, quote},
    pull::add,
    remote::Inner,
    rows::{Row, Table},
    time_text,
    wire::Page,
};

/// How many of the newest rows are looked at first: enough for what happens in the overlap of a quiet scope.
const NEWEST: u32 = 50;

/// An indexed list takes a small part of this.
const SLOW: Duration = Duration::from_secs(2);

impl Inner {
    pub(super) async fn pull_plain(
        &self,
        caller: &Caller<'_>,
        table: &Table,
        request: &PullRequest,
        cursor: Option<PlainCursor>,
    ) -> Result<Delta> {
        let scope = filter::of_scope(&table.mapping, &request.target.scope)?;
        let pass = PlainPass {
            inner: self,
            caller,
            table,
            scope: &scope,
            page_size: request.page_size,
        };
        let cursor = match cursor {
            None => {
                let begin = PlainCursor {
                    count: Some(0),
                    ..PlainCursor::default()
                };
                return pass.scan(begin, Scan::from(String::new())).await;
            }
            Some(cursor) => cursor,
        };
        if let Some(scan) = cursor.scan.clone() {
            return pass.scan(cursor, scan).await;
        }
        let low = Low::of(&cursor, self.overlap);
        match pass.newest(&cursor, &low).await? {
            Some(delta) => Ok(delta),
            None => pass.scan(cursor, Scan::from(low.time)).await,
        }
    }
}

impl Scan {
    fn from(updated: String) -> Self {
        Self {
            updated,
            id: String::new(),
            delivered: 0,
            begun: None,
        }
    }
}

/// From where rows are read (again).
struct Low {
    time: String,
    /// Whether rows of this very time are.
    inclusive: bool,
}

impl Low {
    /// What may have committed late is read again until its time is long over; then only what is new.
    fn of(cursor: &PlainCursor, overlap: Duration) -> Self {
        if cursor.settled {
            return Self {
                time: cursor.seen.clone(),
                inclusive: false,
            };
        }
        Self {
            time: time_text::before(&cursor.seen, overlap),
            inclusive: true,
        }
    }

    fn covers(&self, updated: &str) -> bool {
        updated > self.time.as_str() || self.inclusive && updated == self.time
    }
}

/// Whether everything up to `seen` is there for a pass that began at `begun`. The overlap is counted twice, for a
/// proxy that dates answers by a clock of its own.
fn is_settled(seen: &str, begun: Option<Timestamp>, overlap: Duration) -> bool {
    match (time_text::parse(seen), begun) {
        (Some(seen), Some(begun)) => seen.plus(overlap).plus(overlap) <= begun,
        _ => false,
    }
}

/// One pull of a plain collection.
struct PlainPass<'p> {
    inner: &'p Inner,
    caller: &'p Caller<'p>,
    table: &'p Table,
    scope: &'p str,
    page_size: u32,
}

impl PlainPass<'_> {
    /// The usual case: few changes. One request tells the newest rows and how many there are. `None` if the page
    /// does not reach back far enough.
    async fn newest(&self, cursor: &PlainCursor, low: &Low) -> Result<Option<Delta>> {
        let updated = &self.table.mapping.updated;
        let sort = format!("-{updated},-id");
        let page = self
            .list(self.scope, &sort, self.page_size.min(NEWEST), true)
            .await?;
        let may_go_on = page.may_go_on();
        let mut rows = self.read(&page);
        let reaches_back = rows.last().is_none_or(|oldest| !low.covers(&oldest.updated));
        if may_go_on && !reaches_back {
            return Ok(None);
        }
        self.caller.ensure_signed_in().await?;
        let seen = newer(&cursor.seen, rows.first().map(|row| row.updated.as_str()));
        rows.retain(|row| low.covers(&row.updated));
        rows.reverse();
        let count = u64::try_from(page.total_items).ok();
        let delivered = rows.len() as u64;
        let next = PlainCursor {
            settled: is_settled(&seen, page.asked_at, self.inner.overlap),
            seen,
            count,
            scan: None,
        };
        let wants_sweep = count_is_unexplained(cursor.count, count, delivered);
        Ok(Some(self.delta(rows, next, false, wants_sweep)))
    }

    /// One page of a pass in the order of times. The form of the condition is the one that uses the index.
    async fn scan(&self, cursor: PlainCursor, scan: Scan) -> Result<Delta> {
        let updated = &self.table.mapping.updated;
        let (at, id) = (quote(&scan.updated), quote(&scan.id));
        let from = format!("{updated} >= {at} && ({updated} > {at} || id > {id})");
        let sort = format!("{updated},id");
        let page = self
            .list(
                &filter::all([self.scope, from.as_str()]),
                &sort,
                self.page_size,
                false,
            )
            .await?;
        let more = page.may_go_on();
        let begun = if scan.id.is_empty() {
            page.asked_at
        } else {
            scan.begun
        };
        let rows = self.read(&page);
        let last = rows.last();
        let seen = newer(&cursor.seen, last.map(|row| row.updated.as_str()));
        let delivered = scan.delivered + rows.len() as u64;
        if let (true, Some(last)) = (more, last) {
            // Partly public rules may show an expired token some of the rows, so each page is checked.
            self.caller.ensure_signed_in().await?;
            let scan = Scan {
                updated: last.updated.clone(),
                id: last.row_id.clone(),
                delivered,
                begun,
            };
            let next = PlainCursor {
                settled: false,
                seen,
                count: cursor.count,
                scan: Some(scan),
            };
            return Ok(self.delta(rows, next, true, false));
        }
        let count = self.count().await?;
        self.caller.ensure_signed_in().await?;
        let wants_sweep = count_is_unexplained(cursor.count, count, delivered);
        let next = PlainCursor {
            settled: is_settled(&seen, begun, self.inner.overlap),
            seen,
            count,
            scan: None,
        };
        Ok(self.delta(rows, next, false, wants_sweep))
    }

    async fn list(&self, filter: &str, sort: &str, per_page: u32, count: bool) -> Result<Page> {
        let query = ListQuery {
            filter,
            sort,
            fields: self.table.columns.wanted(),
            per_page,
            count,
        };
        let started = self.inner.effects.clock.monotonic();
        let page = self.caller.list_fitting(self.table.table_name(), &query).await?;
        self.table.columns.notice(&page.items);
        let took = self.inner.effects.clock.monotonic().saturating_sub(started);
        if took > SLOW && !self.inner.warned_of_slow_pull.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                collection = self.table.table_name(),
                millis = took.as_millis(),
                "a pull is slow; is there an index on the scope fields, `{}` and `id`?",
                self.table.mapping.updated
            );
        }
        Ok(page)
    }

    /// How many rows the scope has.
    async fn count(&self) -> Result<Option<u64>> {
        let query = ListQuery {
            filter: self.scope,
            fields: "id",
            per_page: 1,
            count: true,
            ..ListQuery::default()
        };
        let page = self.caller.list(self.table.table_name(), &query).await?;
        Ok(u64::try_from(page.total_items).ok())
    }

    fn read(&self, page: &Page) -> Vec<Row> {
        page.items.iter().map(|row| self.table.read(row)).collect()
    }

    fn delta(&self, rows: Vec<Row>, next: PlainCursor, has_more: bool, wants_sweep: bool) -> Delta {
        let mut delta = Delta {
            has_more,
            wants_sweep,
            server_time: self.inner.estimated_time(),
            ..Delta::empty(Cursor::Plain(next).to_sync_point())
        };
        for row in rows {
            add(&mut delta, row);
        }
        delta
    }
}

/// The later of two times in the server's own form, which sorts.
fn newer(seen: &str, other: Option<&str>) -> String {
    seen.max(other.unwrap_or_default()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_again_long_after_its_time_is_not_read_a_third_time() {
        let overlap = Duration::from_secs(10);
        let seen = "2026-01-02 03:04:05.678Z";
        let at = |seconds| time_text::parse(seen).map(|seen| seen.plus(Duration::from_secs(seconds)));
        assert!(!is_settled(seen, at(19), overlap));
        assert!(is_settled(seen, at(20), overlap));
        assert!(!is_settled(seen, None, overlap), "a server that tells no time");
        assert!(!is_settled("", at(20), overlap), "nothing was seen");

        let cursor = |settled| PlainCursor {
            seen: seen.to_owned(),
            settled,
            ..PlainCursor::default()
        };
        let unsettled = Low::of(&cursor(false), overlap);
        assert!(
            unsettled.covers("2026-01-02 03:03:55.678Z") && !unsettled.covers("2026-01-02 03:03:55.677Z")
        );
        let settled = Low::of(&cursor(true), overlap);
        assert!(settled.covers("2026-01-02 03:04:05.679Z") && !settled.covers(seen));
    }
}

//! Pulling from a plain server, by the time of the last write.
//!
//! That time is taken before a write waits for its turn to commit, so rows appear behind it. Three things mend
//! that: each pass reads the overlap again, the rows of the scope are counted, and the engine sweeps ids now and
//! then and whenever the count is not what the changes explain.

use std::{sync::atomic::Ordering, time::Duration};

use sync_core::{Delta, PullRequest, Result};

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
        let low = time_text::before(&cursor.seen, self.overlap);
        match pass.newest(&cursor, &low).await? {
            Some(delta) => Ok(delta),
            None => pass.scan(cursor, Scan::from(low)).await,
        }
    }
}

impl Scan {
    fn from(updated: String) -> Self {
        Self {
            updated,
            id: String::new(),
            delivered: 0,
        }
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
    async fn newest(&self, cursor: &PlainCursor, low: &str) -> Result<Option<Delta>> {
        let updated = &self.table.mapping.updated;
        let sort = format!("-{updated},-id");
        let page = self
            .list(self.scope, &sort, self.page_size.min(NEWEST), true)
            .await?;
        let may_go_on = page.may_go_on();
        let mut rows = self.read(&page);
        let reaches_back = rows.last().is_none_or(|oldest| oldest.updated.as_str() < low);
        if may_go_on && !reaches_back {
            return Ok(None);
        }
        self.caller.ensure_signed_in().await?;
        let seen = newer(&cursor.seen, rows.first().map(|row| row.updated.as_str()));
        rows.retain(|row| row.updated.as_str() >= low);
        rows.reverse();
        let count = u64::try_from(page.total_items).ok();
        let delivered = rows.len() as u64;
        let next = PlainCursor {
            seen,
            count,
            scan: None,
        };
        let wants_sweep = is_unexplained(cursor.count, count, delivered);
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
            };
            let next = PlainCursor {
                seen,
                count: cursor.count,
                scan: Some(scan),
            };
            return Ok(self.delta(rows, next, true, false));
        }
        let count = self.count().await?;
        self.caller.ensure_signed_in().await?;
        let wants_sweep = is_unexplained(cursor.count, count, delivered);
        let next = PlainCursor {
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
            fields: &self.table.columns,
            per_page,
            count,
        };
        let started = self.inner.effects.clock.monotonic();
        let page = self.caller.list_fitting(self.table.table_name(), &query).await?;
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

/// Whether the number of rows is one that the delivered changes cannot explain: they are new rows at most, and
/// never fewer.
fn is_unexplained(before: Option<u64>, now: Option<u64>, delivered: u64) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => now < before || now > before + delivered,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_explained_by_as_many_new_rows_as_were_delivered() {
        for (before, now, delivered, unexplained) in [
            (10, 10, 0, false),
            (10, 11, 1, false),
            (10, 10, 5, false),
            (10, 9, 0, true),
            (10, 9, 5, true),
            (10, 12, 1, true),
            (0, 5, 4, true),
        ] {
            assert_eq!(
                is_unexplained(Some(before), Some(now), delivered),
                unexplained,
                "{before} {now} {delivered}"
            );
        }
        assert!(!is_unexplained(None, Some(5), 0));
    }
}

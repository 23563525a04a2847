//! Pulling from a feed, by the number of the write.
//!
//! Numbers are given out in the order of commits, so everything up to the counter's value at the beginning of a
//! pass is there to be read. The feed's view is read before and after each page: that the second read succeeds
//! proves that the sign-in was good in between, and that both tell one history, that no backup was restored.

use std::collections::BTreeMap;

use sync_core::{Delta, PullRequest, RemoteChange, RemoteState, Result};

use crate::{
    client::{Caller, ListQuery},
    cursor::{Cursor, FeedCursor, Mark, Rest, resync},
    feed::FIELD_REV,
    filter,
    pull::{add, no_feed},
    remote::Inner,
    rows::{Row, Table},
    time_text,
    wire::{Meta, Page},
};

impl Inner {
    pub(super) async fn pull_feed(
        &self,
        caller: &Caller<'_>,
        table: &Table,
        request: &PullRequest,
        cursor: Option<FeedCursor>,
    ) -> Result<Delta> {
        let scope = filter::of_scope(&table.mapping, &request.target.scope)?;
        let pass = FeedPass {
            caller,
            table,
            scope: &scope,
            page_size: request.page_size.clamp(1, crate::client::LARGEST_PAGE),
        };
        let cursor = match cursor {
            Some(cursor) if cursor.rest.is_some() => cursor,
            cursor => {
                let meta = pass.meta().await?;
                if let Some(cursor) = &cursor {
                    pass.ensure_same_history(cursor, &meta).await?;
                    if cursor.position >= meta.seq {
                        let mut delta = Delta::empty(Cursor::Feed(cursor.clone()).to_sync_point());
                        delta.server_time = time_text::parse(&meta.now);
                        return Ok(delta);
                    }
                }
                let position = cursor.map_or(0, |cursor| cursor.position);
                FeedCursor {
                    position,
                    rest: Some(Rest {
                        live: true,
                        gone: !request.holds_nothing,
                    }),
                    epoch: meta.epoch,
                    anchor: Mark {
                        seq: meta.seq,
                        nonce: meta.nonce,
                    },
                }
            }
        };
        pass.page(cursor).await
    }
}

/// One pull of a collection with a feed.
struct FeedPass<'p> {
    caller: &'p Caller<'p>,
    table: &'p Table,
    scope: &'p str,
    page_size: u32,
}

/// A change with its number.
enum Change {
    Live(Box<Row>),
    Gone(i64, RemoteChange),
    /// A tombstone of a row whose record cannot be named.
    Nameless(i64),
}

impl Change {
    fn number(&self) -> i64 {
        match self {
            Self::Live(row) => row.revision,
            Self::Gone(number, _) | Self::Nameless(number) => *number,
        }
    }
}

impl FeedPass<'_> {
    async fn meta(&self) -> Result<Meta> {
        match self.caller.meta(&self.table.feed.meta()).await? {
            Some(meta) => Ok(meta),
            None => {
                self.caller.ensure_signed_in().await?;
                Err(no_feed(self.table.table_name()))
            }
        }
    }

    /// Makes sure that what the cursor has delivered is part of the history that the server has now.
    async fn ensure_same_history(&self, cursor: &FeedCursor, meta: &Meta) -> Result<()> {
        if cursor.epoch != meta.epoch {
            return Err(resync("the feed was installed anew since"));
        }
        if cursor.position < meta.floor {
            return Err(resync("deletes since the sync point were forgotten"));
        }
        if cursor.anchor.seq > meta.seq {
            return Err(resync(
                "the sync point is ahead of the server; a backup was restored",
            ));
        }
        let anchor = &cursor.anchor;
        if anchor.seq == meta.seq && anchor.nonce == meta.nonce {
            return Ok(());
        }
        let marks = self.table.feed.marks();
        if self.caller.record(&marks, &anchor.id(), "").await?.is_some() {
            return Ok(());
        }
        self.caller.ensure_signed_in().await?;
        Err(resync(
            "the sync point is not part of the server's history; a backup was restored, or it is too old",
        ))
    }

    async fn page(&self, cursor: FeedCursor) -> Result<Delta> {
        let rest = cursor.rest.clone().unwrap_or(Rest {
            live: true,
            gone: true,
        });
        let (table, tombstones) = (self.table.table_name(), self.table.feed.gone());
        let (live, gone) = futures::try_join!(
            self.list_if(rest.live, table, FIELD_REV, self.table.columns.wanted(), &cursor),
            self.list_if(rest.gone, &tombstones, "seq", "", &cursor),
        )?;
        let meta = self.meta().await?;
        let check = FeedCursor {
            position: cursor.anchor.seq,
            ..cursor.clone()
        };
        self.ensure_same_history(&check, &meta).await?;

        if let Some(live) = &live {
            self.table.columns.notice(&live.page.items);
        }
        let reach = [&live, &gone].into_iter().flatten().filter_map(end_of);
        // What lies behind the end of a list that goes on may come before what the other list has.
        let reach = reach.min().unwrap_or(i64::MAX);
        let (live_goes_on, gone_goes_on) = (goes_on(live.as_ref()), goes_on(gone.as_ref()));
        let mut changes = self.changes(live, gone);
        let taken = changes
            .partition_point(|change| change.number() <= reach)
            .min(self.page_size as usize);
        let (left_live, left_gone): (Vec<_>, Vec<_>) = changes[taken..]
            .iter()
            .partition(|change| matches!(change, Change::Live(_)));
        let rest = Rest {
            live: live_goes_on || !left_live.is_empty(),
            gone: gone_goes_on || !left_gone.is_empty(),
        };
        changes.truncate(taken);
        let has_more = rest.live || rest.gone;
        let next = FeedCursor {
            position: match changes.last() {
                Some(last) if has_more => last.number(),
                _ => cursor.anchor.seq,
            },
            rest: has_more.then_some(rest),
            ..cursor
        };
        let mut delta = Delta {
            has_more,
            server_time: time_text::parse(&meta.now),
            ..Delta::empty(Cursor::Feed(next).to_sync_point())
        };
        for change in changes {
            match change {
                Change::Live(row) => add(&mut delta, *row),
                Change::Gone(_, change) => delta.changes.push(change),
                Change::Nameless(_) => {}
            }
        }
        Ok(delta)
    }

    async fn list_if(
        &self,
        wanted: bool,
        table: &str,
        number: &'static str,
        fields: &str,
        cursor: &FeedCursor,
    ) -> Result<Option<Numbered>> {
        if !wanted {
            return Ok(None);
        }
        let numbers = format!(
            "{number} > {} && {number} <= {}",
            cursor.position, cursor.anchor.seq
        );
        let filter = filter::all([self.scope, numbers.as_str()]);
        let query = ListQuery {
            filter: &filter,
            sort: number,
            fields,
            per_page: self.page_size,
            count: false,
        };
        let page = self.caller.list_fitting(table, &query).await?;
        Ok(Some(Numbered { page, number }))
    }

    /// Both lists as one, in the order of numbers.
    fn changes(&self, live: Option<Numbered>, gone: Option<Numbered>) -> Vec<Change> {
        let live = live.into_iter().flat_map(|list| list.page.items);
        let gone = gone.into_iter().flat_map(|list| list.page.items);
        let mut changes: Vec<Change> = live
            .map(|row| Change::Live(Box::new(self.table.read(&row))))
            .chain(gone.map(|row| {
                let (row_id, number, state) = Table::read_tombstone(&row);
                match self.table.record_of_tombstone(&row, &row_id) {
                    Some(id) => Change::Gone(number, RemoteChange { id, state }),
                    None => Change::Nameless(number),
                }
            }))
            .collect();
        changes.sort_by_key(Change::number);
        changes
    }
}

/// A list in the order of a column with numbers.
struct Numbered {
    page: Page,
    number: &'static str,
}

fn goes_on(list: Option<&Numbered>) -> bool {
    list.is_some_and(|list| list.page.may_go_on())
}

/// The last number of a list that goes on.
fn end_of(list: &Numbered) -> Option<i64> {
    let last = list.page.items.last().filter(|_| list.page.may_go_on())?;
    last.get(list.number)?.as_i64()
}

impl Inner {
    /// The tombstones of rows, by the ids of the rows.
    pub(crate) async fn tombstones(
        &self,
        caller: &Caller<'_>,
        table: &Table,
        scope: &str,
        row_ids: &[String],
    ) -> Result<BTreeMap<String, RemoteState>> {
        let mut found = BTreeMap::new();
        for (ids, asked) in filter::of_ids("record", row_ids) {
            let filter = filter::all([scope, ids.as_str()]);
            let query = ListQuery {
                filter: &filter,
                per_page: u32::try_from(asked.len()).unwrap_or(u32::MAX),
                ..ListQuery::default()
            };
            for row in caller.list(&table.feed.gone(), &query).await?.items {
                let (row_id, _, state) = Table::read_tombstone(&row);
                found.insert(row_id, state);
            }
        }
        Ok(found)
    }

    /// The versions that operations made, as the feed remembers them.
    pub(crate) async fn logged(
        &self,
        caller: &Caller<'_>,
        table: &Table,
        op_ids: &[String],
    ) -> Result<BTreeMap<String, i64>> {
        let mut found = BTreeMap::new();
        for (filter, asked) in filter::of_ids("id", op_ids) {
            let query = ListQuery {
                filter: &filter,
                per_page: u32::try_from(asked.len()).unwrap_or(u32::MAX),
                ..ListQuery::default()
            };
            for row in caller.list(&table.feed.ops(), &query).await?.items {
                let number = row.get("seq").and_then(serde_json::Value::as_i64);
                if let (Some(id), Some(number @ 1..)) = (row.get("id").and_then(|id| id.as_str()), number) {
                    found.insert(id.to_owned(), number);
                }
            }
        }
        Ok(found)
    }
}

//! Pulling: rows by `$updatedAt` and then `$sequence`, from the watermark less the overlap.

use std::time::Duration;

use sync_core::{
    Delta, DeltaKind, ErrorKind, MalformedRow, PullRequest, RecordId, RemoteChange, RemoteState, Result,
    SyncError,
};

use crate::{
    client::{Listed, Signed},
    cursor::{Cursor, DATE_RESOLUTION_MILLIS, Pass, Position},
    query::Query,
    read::{Found, may_go_on},
    remote::AppwriteRemoteStore,
    row::write_time,
    table::Place,
};

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl AppwriteRemoteStore {
    pub(crate) async fn pull_page(&self, request: &PullRequest) -> Result<Delta> {
        let place = self.place(&request.target)?;
        let since = request.since.as_ref().map(Cursor::read).transpose()?;
        self.client()
            .signed(|signed| {
                let (place, since) = (&place, since.clone());
                async move { self.page(&signed, place, since, request).await }
            })
            .await
    }

    async fn page(
        &self,
        signed: &Signed<'_>,
        place: &Place,
        since: Option<Cursor>,
        request: &PullRequest,
    ) -> Result<Delta> {
        let overlap = millis(self.options().overlap);
        let was_user = since.as_ref().map(|cursor| cursor.user.clone());
        let mut pass = match since.map(|cursor| cursor.position) {
            Some(Position::Within(pass)) => pass,
            Some(Position::At(watermark)) => {
                Pass::begin(Some(watermark), overlap, self.latest_millis().await?, false)
            }
            None => Pass::begin(None, overlap, self.latest_millis().await?, request.holds_nothing),
        };
        let limit = request.page_size.clamp(1, super::remote::MAX_PAGE);
        let listed = signed.list(&place.table, queries(place, &pass, limit)).await?;
        // With an expired sign-in the list is shorter, and the watermark would pass over what it lacks.
        let user = signed.prove().await?;
        let asked_from = pass.after.clone();
        let (changes, malformed) = sort_out(place, &mut pass, &listed);
        let date = listed.date.as_millis();
        let full = may_go_on(listed.rows.len(), limit);
        if full && pass.after == asked_from {
            return Err(SyncError::new(
                ErrorKind::Malformed,
                "no row of a whole page has a `$updatedAt` and a `$sequence` to go on from",
            )
            .with_field("$updatedAt"));
        }
        // If the server's clock was taken for slower than it is, what was written until now belongs to this pass.
        // Once: a busy table must not keep the pass going.
        let ended_early =
            asked_from.is_none() && !pass.extended && pass.until < date + DATE_RESOLUTION_MILLIS - 1;
        if ended_early {
            pass.extended = true;
            pass.until = self.latest_millis().await?.max(date + 2 * DATE_RESOLUTION_MILLIS);
        }
        let has_more = full || ended_early;
        let other_user = was_user.as_ref().is_some_and(|was| *was != user);
        let long_ago = pass.begun_with.is_some_and(|watermark| {
            pass.until.saturating_sub(watermark.pulled_at) >= millis(self.options().sweep_after_gap)
        });
        let cursor_user = if has_more { was_user.unwrap_or(user) } else { user };
        let position = if has_more {
            Position::Within(pass)
        } else {
            Position::At(pass.end(overlap))
        };
        Ok(Delta {
            changes,
            malformed,
            next: Cursor::new(cursor_user, position).to_sync_point(),
            has_more,
            server_time: Some(self.client().server_time()),
            kind: DeltaKind::Incremental,
            wants_sweep: !has_more && (other_user || long_ago),
        })
    }

    /// The end of a pass that begins now. A second is added, since the `Date` of the answer, which tells whether
    /// the end was late enough, is cut to the second.
    async fn latest_millis(&self) -> Result<i64> {
        Ok(self.client().latest_server_time().await?.as_millis() + DATE_RESOLUTION_MILLIS)
    }
}

fn queries(place: &Place, pass: &Pass, limit: u32) -> Vec<Query> {
    let mut queries = place.queries();
    match (&pass.after, pass.from) {
        (Some((updated_at, sequence)), _) => queries.push(Query::after_update(*updated_at, sequence)),
        (None, Some(from)) => {
            queries.push(Query::greater_than_equal("$updatedAt", write_time(from).into()));
        }
        (None, None) => {}
    }
    queries.extend([
        Query::less_than_equal("$updatedAt", write_time(pass.until).into()),
        Query::order_asc("$updatedAt"),
        Query::order_asc("$sequence"),
        Query::limit(limit),
    ]);
    queries
}

/// The changes of a page, and the rows that cannot be understood. Moves the pass on.
fn sort_out(place: &Place, pass: &mut Pass, listed: &Listed) -> (Vec<RemoteChange>, Vec<MalformedRow>) {
    let date = listed.date.as_millis();
    let (mut changes, mut malformed) = (Vec::new(), Vec::new());
    for row in &listed.rows {
        if let Ok(row) = row {
            pass.deliver(row.updated_at, row.sequence.clone(), date);
        }
        match understood(place, row) {
            Ok(Some(change)) => {
                let tombstone = matches!(change.state, RemoteState::Deleted(_));
                if !(tombstone && pass.skips_tombstones) {
                    changes.push(change);
                }
            }
            Ok(None) => {}
            Err(row) => malformed.push(row),
        }
    }
    (changes, malformed)
}

fn understood(place: &Place, row: &Found) -> Result<Option<RemoteChange>, MalformedRow> {
    let row = match row {
        Ok(row) if !place.holds(row) => return Ok(None),
        Ok(row) => row,
        Err(unreadable) => {
            return Err(MalformedRow {
                id: unreadable.id.as_deref().and_then(|id| RecordId::new(id).ok()),
                raw: unreadable.raw.clone(),
                error: unreadable.error.clone(),
            });
        }
    };
    let malformed = |id: Option<RecordId>, error: String| MalformedRow {
        id,
        raw: serde_json::Value::Object(row.columns.clone()).to_string(),
        error,
    };
    let id = RecordId::new(row.id.as_str()).map_err(|error| malformed(None, error.to_string()))?;
    match place.state(row) {
        Ok(state) => Ok(Some(RemoteChange { id, state })),
        Err(error) => Err(malformed(Some(id), error)),
    }
}

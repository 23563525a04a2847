//! Cursors that skip.

use sync_core::{
    Delta, DeltaKind, ErrorKind, PullRequest, RemoteChange, RemoteStore, RemoteStoreExt, Result, SyncError,
    SyncPoint,
};

/// Everything that `inner` has, tombstones included.
async fn everything(inner: &dyn RemoteStore, request: &PullRequest) -> Result<Vec<RemoteChange>> {
    let pages = inner.pull_all(&request.target, None, 1_000).await?;
    Ok(pages.into_iter().flat_map(|page| page.changes).collect())
}

fn page(changes: Vec<RemoteChange>, next: String, has_more: bool) -> Delta {
    Delta {
        changes,
        has_more,
        kind: DeltaKind::Incremental,
        ..Delta::empty(SyncPoint::new(next))
    }
}

fn unreadable() -> SyncError {
    SyncError::new(ErrorKind::ResyncRequired, "the sync point cannot be read")
}

/// The rows with a later stamp than any delivered before.
pub(super) async fn pull_by_stamp(inner: &dyn RemoteStore, request: &PullRequest) -> Result<Delta> {
    let since: u64 = match &request.since {
        Some(point) => point.as_str().parse().map_err(|_| unreadable())?,
        None => 0,
    };
    let time = |change: &RemoteChange| change.state.stamp().map_or(0, |stamp| stamp.millis());
    let mut later = everything(inner, request).await?;
    later.retain(|change| request.since.is_none() || time(change) > since);
    later.sort_by_key(time);
    let latest = later.last().map_or(since, time).max(since);
    Ok(page(later, latest.to_string(), false))
}

/// The n-th page of the rows that changed after the last pass, in the order of their changes.
pub(super) async fn pull_by_offset(inner: &dyn RemoteStore, request: &PullRequest) -> Result<Delta> {
    let (after, offset): (i64, usize) = match &request.since {
        Some(point) => {
            let (after, offset) = point.as_str().split_once('+').ok_or_else(unreadable)?;
            let numbers = after.parse().ok().zip(offset.parse().ok());
            numbers.ok_or_else(unreadable)?
        }
        None => (0, 0),
    };
    let place = |change: &RemoteChange| {
        change
            .state
            .version()
            .and_then(|version| version.order())
            .unwrap_or(0)
    };
    let mut changed = everything(inner, request).await?;
    changed.retain(|change| place(change) > after);
    changed.sort_by_key(place);
    let end = changed.last().map_or(after, place);
    let size = request.page_size as usize;
    let has_more = changed.len() > offset + size;
    let rows = changed.into_iter().skip(offset).take(size).collect();
    let next = if has_more {
        format!("{after}+{}", offset + size)
    } else {
        format!("{end}+0")
    };
    Ok(page(rows, next, has_more))
}

//! Reading rows by id, and pages of ids. What is not there is told only after proof that it would be seen.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{ErrorKind, IdPage, RecordId, RemoteState, RemoteVersion, Result, SyncError, Target};

use crate::{
    client::{Listed, Signed},
    query::Query,
    remote::AppwriteRemoteStore,
    row::{Row, Sequence, UnreadableRow},
    table::Place,
    values::is_possible_id,
};

/// The most ids asked for in one query.
const IDS_IN_A_QUERY: usize = 90;

/// A page shorter than this is the last one even if it is shorter than was asked for: no server caps pages below
/// the size it gives by default.
const DEFAULT_PAGE: usize = 25;

/// What a row turned out to be.
pub(crate) type Found = Result<Row, UnreadableRow>;

/// Whether more rows may follow a page. A short page is not the end by itself: a server may cap it in silence.
pub(crate) fn may_go_on(rows: usize, asked: u32) -> bool {
    rows > 0 && rows >= DEFAULT_PAGE.min(asked as usize)
}

/// The rows with these ids; an id that is not in the answer is proved not to be there for this user.
///
/// A list that lacks an id is asked again for what it lacks, until it answers nothing: a page may have been capped.
/// Before and after that last list the sign-in is proved, since an expired one sees less without being told.
pub(crate) async fn rows_by_id(
    signed: &Signed<'_>,
    place: &Place,
    ids: &[&str],
) -> Result<BTreeMap<String, Found>> {
    let mut found = BTreeMap::new();
    let possible: Vec<&str> = ids.iter().copied().filter(|id| is_possible_id(id)).collect();
    let mut missing: Vec<&str> = Vec::new();
    for chunk in possible.chunks(IDS_IN_A_QUERY) {
        let rest = ask_until_nothing_comes(signed, place, chunk, &mut found).await?;
        missing.extend(rest);
    }
    if !missing.is_empty() {
        signed.prove().await?;
        for chunk in missing.chunks(IDS_IN_A_QUERY) {
            ask_until_nothing_comes(signed, place, chunk, &mut found).await?;
        }
        signed.prove().await?;
    }
    Ok(found)
}

async fn ask_until_nothing_comes<'i>(
    signed: &Signed<'_>,
    place: &Place,
    ids: &[&'i str],
    found: &mut BTreeMap<String, Found>,
) -> Result<Vec<&'i str>> {
    let mut wanted: BTreeSet<&str> = ids.iter().copied().collect();
    while !wanted.is_empty() {
        let limit = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let values = wanted.iter().map(|id| (*id).into()).collect();
        let queries = vec![Query::equal("$id", values), Query::limit(limit)];
        let before = wanted.len();
        for row in signed.list(&place.table, queries).await?.rows {
            // The server does not tell cases apart; we do.
            if let Some(id) = id_of(&row).filter(|id| wanted.remove(id.as_str())) {
                found.insert(id, row);
            }
        }
        if wanted.len() == before {
            break;
        }
    }
    Ok(wanted.into_iter().collect())
}

fn id_of(row: &Found) -> Option<String> {
    match row {
        Ok(row) => Some(row.id.clone()),
        Err(unreadable) => unreadable.id.clone(),
    }
}

impl AppwriteRemoteStore {
    pub(crate) async fn read_states(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        let place = self.place(target)?;
        let texts: Vec<&str> = ids.iter().map(RecordId::as_str).collect();
        let found = self
            .client()
            .signed(|signed| {
                let (place, texts) = (&place, &texts);
                async move { rows_by_id(&signed, place, texts).await }
            })
            .await?;
        let states = texts.iter().map(|id| match found.get(*id) {
            Some(Ok(row)) if place.holds(row) => place.state(row).unwrap_or_default(),
            // A row of another scope is not there, and of one that cannot be read nothing can be said.
            _ => RemoteState::Missing,
        });
        Ok(states.collect())
    }

    /// One page of ids in the order of insertion. A row that cannot be read is listed without a version, so that
    /// what a client knows of it stays.
    pub(crate) async fn read_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        let place = self.place(target)?;
        let after: Option<Sequence> = after
            .map(|text| {
                serde_json::from_str(text).map_err(|error| {
                    SyncError::new(ErrorKind::Invalid, "is not the end of a page of this remote")
                        .with_field("after")
                        .with_source(error)
                })
            })
            .transpose()?;
        let mut columns: Vec<&str> = vec!["$id"];
        columns.extend(place.table.own_columns());
        columns.extend(place.scope.iter().map(|(column, _)| column.as_str()));
        let mut queries = place.queries();
        if let Some(sequence) = &after {
            queries.push(Query::greater_than("$sequence", sequence.to_value()));
        }
        queries.extend([
            Query::order_asc("$sequence"),
            Query::limit(limit),
            Query::select(&columns),
        ]);
        let listed = self
            .client()
            .signed(|signed| {
                let (place, queries) = (&place, queries.clone());
                async move {
                    let listed = signed.list(&place.table, queries).await?;
                    signed.prove().await?;
                    Ok(listed)
                }
            })
            .await?;
        let next = if may_go_on(listed.rows.len(), limit) {
            next_sequence(&listed, after.as_ref())?
        } else {
            None
        };
        let ids = listed
            .rows
            .iter()
            .filter_map(|row| listed_id(&place, row))
            .collect();
        Ok(IdPage { ids, next })
    }
}

/// The place of the last row that has one.
fn next_sequence(listed: &Listed, after: Option<&Sequence>) -> Result<Option<String>> {
    let last = listed
        .rows
        .iter()
        .rev()
        .find_map(|row| row.as_ref().ok().map(|row| &row.sequence));
    match last {
        Some(sequence) if Some(sequence) != after => {
            let text =
                serde_json::to_string(sequence).map_err(|error| SyncError::malformed("$sequence", error))?;
            Ok(Some(text))
        }
        _ => Err(SyncError::new(
            ErrorKind::Malformed,
            "no row of a whole page has a `$sequence` to go on from",
        )
        .with_field("$sequence")),
    }
}

fn listed_id(place: &Place, row: &Found) -> Option<(RecordId, Option<RemoteVersion>)> {
    match row {
        Ok(row) if !place.holds(row) => None,
        Ok(row) => match place.is_deleted(row) {
            Ok(true) => None,
            Ok(false) => Some((RecordId::new(row.id.as_str()).ok()?, Some(place.version(row)))),
            Err(_) => Some((RecordId::new(row.id.as_str()).ok()?, None)),
        },
        Err(unreadable) => Some((RecordId::new(unreadable.id.as_deref()?).ok()?, None)),
    }
}

//! Searches: the server gives at least the rows that match, and the reference evaluator says which do.

use sync_core::{
    ErrorKind, Payload, RecordId, RemoteState, Result, SearchPage, SyncError, Target, Versioned,
    query::{Query as ExactQuery, QuerySpec},
};

use crate::{
    client::Signed,
    error::types,
    filter::translate,
    query::Query,
    read::may_go_on,
    remote::{AppwriteRemoteStore, MAX_PAGE},
    table::Place,
};

impl AppwriteRemoteStore {
    pub(crate) async fn find(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        let place = self.place(target)?;
        let exact = ExactQuery::new(spec)?;
        let translated = match &spec.filter {
            Some(filter) => translate(&place.table, filter)?,
            None => Some(Vec::new()),
        };
        let rows = match translated {
            None => Vec::new(),
            Some(filter) => self
                .client()
                .signed(|signed| {
                    let (place, filter) = (&place, filter.clone());
                    async move { self.candidates(&signed, place, filter).await }
                })
                .await
                .map_err(refused_query)?,
        };
        let found = exact.run(rows.iter().map(|(id, live)| (id.clone(), live.record.clone())))?;
        let mut by_id: std::collections::BTreeMap<RecordId, Versioned<Payload>> = rows.into_iter().collect();
        let hits = found
            .into_iter()
            .filter_map(|(id, _)| by_id.remove_entry(&id))
            .collect();
        Ok(SearchPage {
            hits,
            server_time: Some(self.client().server_time()),
        })
    }

    /// The live rows of a scope that answer the queries, in the order of insertion.
    async fn candidates(
        &self,
        signed: &Signed<'_>,
        place: &Place,
        filter: Vec<Query>,
    ) -> Result<Vec<(RecordId, Versioned<Payload>)>> {
        let most = self.options().most_searched;
        let (mut found, mut read, mut after) = (Vec::new(), 0_usize, None);
        loop {
            let mut queries = place.queries();
            queries.extend(filter.iter().cloned());
            queries.extend(after.take());
            queries.extend([Query::order_asc("$sequence"), Query::limit(MAX_PAGE)]);
            let listed = signed.list(&place.table, queries).await?;
            read += listed.rows.len();
            if read > most as usize {
                let why = format!("more than {most} rows would have to be read to answer exactly; narrow it");
                return Err(SyncError::unsupported("filter", why));
            }
            let goes_on = may_go_on(listed.rows.len(), MAX_PAGE);
            for row in listed.rows.into_iter().flatten() {
                after = Some(Query::greater_than("$sequence", row.sequence.to_value()));
                if !place.holds(&row) {
                    continue;
                }
                if let (Ok(id), Ok(RemoteState::Live(live))) =
                    (RecordId::new(row.id.as_str()), place.state(&row))
                {
                    found.push((id, live));
                }
            }
            if !goes_on || after.is_none() {
                signed.prove().await?;
                return Ok(found);
            }
        }
    }
}

/// The server refused the query: an unknown column, or a value of another kind than the column's.
fn refused_query(error: SyncError) -> SyncError {
    if error.code() != Some(types::QUERY_INVALID) {
        return error;
    }
    let field = error.field().unwrap_or("filter").to_owned();
    SyncError::new(ErrorKind::Unsupported, error.message())
        .with_field(field)
        .with_code(types::QUERY_INVALID)
}

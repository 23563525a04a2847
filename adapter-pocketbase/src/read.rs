//! Reading records by id, and listing ids.

use std::collections::BTreeMap;

use sync_core::{
    ErrorKind, IdPage, MalformedRow, RecordId, RemoteState, Result, SyncError, SyncScope, Target,
};

use crate::{
    client::{Caller, ListQuery},
    feed::FIELD_REV,
    filter::{self, quote},
    remote::Inner,
    rows::{RowKind, Table, revision_version},
};

impl Inner {
    /// The states of records, for each id in order. A row that cannot be understood is no record, and so missing;
    /// pulls report it.
    pub(crate) async fn get(
        &self,
        caller: &Caller<'_>,
        target: &Target,
        ids: &[RecordId],
    ) -> Result<Vec<RemoteState>> {
        let table = self.table(&target.collection)?;
        let read = self.read_rows(caller, table, &target.scope, ids).await?;
        Ok(read.into_iter().map(Result::unwrap_or_default).collect())
    }

    /// The states of records, for each id in order.
    ///
    /// # Errors
    /// `Malformed` naming the record, if one of the rows cannot be understood: no write may be made on that.
    pub(crate) async fn states(
        &self,
        caller: &Caller<'_>,
        table: &Table,
        scope: &SyncScope,
        ids: &[RecordId],
    ) -> Result<Vec<RemoteState>> {
        let read = self.read_rows(caller, table, scope, ids).await?;
        let malformed = |(id, read): (&RecordId, Result<RemoteState, MalformedRow>)| {
            read.map_err(|row| SyncError::new(ErrorKind::Malformed, row.error).with_field(id.as_str()))
        };
        ids.iter().zip(read).map(malformed).collect()
    }

    async fn read_rows(
        &self,
        caller: &Caller<'_>,
        table: &Table,
        scope: &SyncScope,
        ids: &[RecordId],
    ) -> Result<Vec<Result<RemoteState, MalformedRow>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let of_scope = filter::of_scope(&table.mapping, scope)?;
        let row_ids: Vec<String> = ids.iter().map(|id| table.row_id(scope, id)).collect();
        let mut found: BTreeMap<String, Result<RemoteState, MalformedRow>> = BTreeMap::new();
        let mut left: Vec<String> = row_ids.clone();
        while !left.is_empty() {
            let mut cut = Vec::new();
            for (filter, asked) in filter::of_ids("id", &left) {
                let filter = filter::all([of_scope.as_str(), filter.as_str()]);
                let query = ListQuery {
                    filter: &filter,
                    fields: table.columns.wanted(),
                    per_page: u32::try_from(asked.len()).unwrap_or(u32::MAX),
                    ..ListQuery::default()
                };
                let page = caller.list_fitting(table.table_name(), &query).await?;
                for row in &page.items {
                    let row = table.read(row);
                    found.insert(row.row_id, row.record.map(|(_, state)| state));
                }
                // A page that had to be smaller does not say that the rest is not there.
                if page.may_go_on() && page.items.len() < asked.len() && !page.items.is_empty() {
                    cut.extend(asked.iter().filter(|id| !found.contains_key(*id)).cloned());
                }
            }
            left = cut;
        }
        let missing: Vec<String> = row_ids
            .iter()
            .filter(|id| !found.contains_key(*id))
            .cloned()
            .collect();
        if !missing.is_empty() {
            if table.kind == RowKind::Feed {
                let tombstones = self.tombstones(caller, table, &of_scope, &missing).await?;
                found.extend(tombstones.into_iter().map(|(id, state)| (id, Ok(state))));
            }
            caller.ensure_signed_in().await?;
        }
        Ok(row_ids
            .iter()
            .map(|id| found.get(id).cloned().unwrap_or(Ok(RemoteState::Missing)))
            .collect())
    }

    /// One page of the ids of a target, in the order of the ids of rows.
    pub(crate) async fn list_ids(
        &self,
        caller: &Caller<'_>,
        target: &Target,
        after: Option<&str>,
        limit: u32,
    ) -> Result<IdPage> {
        let table = self.table(&target.collection)?;
        let scope = filter::of_scope(&table.mapping, &target.scope)?;
        let after = after.map(|id| format!("id > {}", quote(id))).unwrap_or_default();
        let (living, fields) = match table.kind {
            RowKind::Plain => {
                let living = table.mapping.soft_delete.as_ref();
                let living = living.map(|column| format!("{column} = false"));
                (living.unwrap_or_default(), table.columns.names().to_owned())
            }
            RowKind::Feed => (String::new(), format!("id,{},{FIELD_REV}", table.id_column())),
        };
        let filter = filter::all([scope.as_str(), after.as_str(), living.as_str()]);
        let query = ListQuery {
            filter: &filter,
            sort: "id",
            fields: &fields,
            per_page: limit,
            count: false,
        };
        let page = caller.list_fitting(table.table_name(), &query).await?;
        caller.ensure_signed_in().await?;
        let text = |row: &sync_core::JsonObject, column: &str| {
            row.get(column)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        let mut ids = Vec::with_capacity(page.items.len());
        for row in &page.items {
            let id = text(row, table.id_column()).and_then(|id| RecordId::new(id).ok());
            let version = match table.kind {
                RowKind::Feed => row
                    .get(FIELD_REV)
                    .and_then(serde_json::Value::as_i64)
                    .map(revision_version),
                RowKind::Plain => match table.read(row).record {
                    Ok((_, state)) => state.version().cloned(),
                    Err(_) => None,
                },
            };
            // A row without a readable id is no record of ours; pulls report it.
            ids.extend(id.map(|id| (id, version)));
        }
        let next = match page.items.last() {
            Some(last) if page.may_go_on() => text(last, "id"),
            _ => None,
        };
        Ok(IdPage { ids, next })
    }
}

//! Rows by id, and pages of ids.

use std::collections::BTreeMap;

use serde_json::Value;
use sync_core::{
    ErrorKind, IdPage, JsonObject, RecordId, RemoteState, RemoteVersion, Result, SyncError, Target,
};
use sync_http::Method;

use super::{
    Tables,
    place::{Place, name},
    row::{Row, id_text, read_time},
};
use crate::{client::Client, feed::shrinking, filter_text::in_list};

/// The most ids in one request: they stand in the address, whose length is limited.
const IDS_IN_A_REQUEST: usize = 50;

/// SQLSTATEs of a value that a column cannot hold.
pub(crate) const NO_SUCH_VALUE: [&str; 2] = ["22P02", "22003"];

impl Tables {
    pub(crate) async fn get(
        &self,
        client: &Client,
        target: &Target,
        ids: &[RecordId],
    ) -> Result<Vec<RemoteState>> {
        let place = self.place(target)?;
        client.user().await?;
        let texts: Vec<&str> = ids.iter().map(RecordId::as_str).collect();
        let mut found = rows_by_id(client, &place, &texts).await?;
        let read = |id: &RecordId| match found.remove(id.as_str()) {
            None => Ok(RemoteState::Missing),
            Some(row) => match Row::read(place.mapping, row) {
                Ok(row) => Ok(row.state()),
                Err(row) => Err(SyncError::new(ErrorKind::Malformed, row.error).with_field(id.as_str())),
            },
        };
        ids.iter().map(read).collect()
    }

    /// One page of ids in the order that the database has for them. A row that cannot be understood is listed without
    /// a version, so that what a client knows of it stays.
    pub(crate) async fn list_ids(
        &self,
        client: &Client,
        target: &Target,
        after: Option<&str>,
        limit: u32,
    ) -> Result<IdPage> {
        let place = self.place(target)?;
        client.user().await?;
        let mapping = place.mapping;
        let ids = shrinking(limit.clamp(1, self.options.page), |limit| {
            let mut call = place
                .call(Method::GET)
                .query(
                    "select",
                    format!("{},{}", name(&mapping.id), name(&mapping.updated_at)),
                )
                .query("order", format!("{}.asc", name(&mapping.id)))
                .query("limit", limit.to_string());
            if let Some(column) = &mapping.soft_delete {
                call = call.query(column, "is.null");
            }
            if let Some(after) = after {
                call = call.query(&mapping.id, format!("gt.{after}"));
            }
            async move { client.rows(&call).await }
        })
        .await?;
        let mut page = IdPage::default();
        for row in ids.rows {
            let Some(text) = row.get(&mapping.id).and_then(id_text) else {
                continue;
            };
            let version = row.get(&mapping.updated_at).and_then(Value::as_str);
            let version = version.filter(|text| read_time(text).is_some());
            let version = version.map(RemoteVersion::opaque);
            // A short page is not the last one: an empty one is.
            page.next = Some(text.clone());
            if let Ok(id) = RecordId::new(text) {
                page.ids.push((id, version));
            }
        }
        Ok(page)
    }
}

/// The rows with these ids. An id that is asked for again, and still not there, is not in the scope.
pub(super) async fn rows_by_id(
    client: &Client,
    place: &Place<'_>,
    ids: &[&str],
) -> Result<BTreeMap<String, JsonObject>> {
    let mut found = BTreeMap::new();
    let mut waiting: Vec<Vec<&str>> = ids.chunks(IDS_IN_A_REQUEST).map(<[&str]>::to_vec).collect();
    while let Some(mut asked) = waiting.pop() {
        let call = place
            .rows()
            .query(&place.mapping.id, in_list(asked.iter().copied()));
        match client.rows(&call).await {
            Ok(answer) => {
                let before = asked.len();
                for row in answer.rows {
                    let Some(id) = row.get(&place.mapping.id).and_then(id_text) else {
                        continue;
                    };
                    asked.retain(|wanted| *wanted != id);
                    found.insert(id, row);
                }
                // The project may give fewer rows than there are.
                if asked.len() < before && !asked.is_empty() {
                    waiting.push(asked);
                }
            }
            // The column cannot hold one of the ids, so there is no such row.
            Err(error) if error.code().is_some_and(|code| NO_SUCH_VALUE.contains(&code)) => {
                if asked.len() > 1 {
                    let rest = asked.split_off(asked.len() / 2);
                    waiting.extend([asked, rest]);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

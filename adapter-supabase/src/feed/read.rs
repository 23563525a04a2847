//! Reading records by id, and listing ids.

use serde_json::value::RawValue;
use sync_core::{
    ErrorKind, IdPage, RecordId, RemoteState, Result, RetryClass, SearchPage, SyncError, Target,
    query::QuerySpec,
};

use super::{
    Feed, shrinking,
    wire::{GetAnswer, GetArguments, ListAnswer, ListArguments, read_state, read_version},
};
use crate::{
    client::Client,
    search::Search,
    table::{Place, id_text, name},
};

impl Feed {
    /// The states of records, for each id in order.
    pub(crate) async fn get(
        &self,
        client: &Client,
        target: &Target,
        ids: &[RecordId],
    ) -> Result<Vec<RemoteState>> {
        self.require(&target.collection)?;
        let mut states = Vec::with_capacity(ids.len());
        let mut size = self.page as usize;
        while states.len() < ids.len() {
            let rest = &ids[states.len()..];
            let asked = &rest[..size.min(rest.len())];
            match self.get_page(client, target, asked).await {
                Err(error) if error.retry() == RetryClass::Shrink && asked.len() > 1 => {
                    size = asked.len() / 2
                }
                Err(error) => return Err(super::at_the_least(error)),
                Ok(page) => states.extend(page),
            }
        }
        Ok(states)
    }

    /// Answers a query: the table tells which records may belong to the answer, and the feed what they are.
    pub(crate) async fn search(
        &self,
        client: &Client,
        place: &Place<'_>,
        target: &Target,
        spec: &QuerySpec,
    ) -> Result<SearchPage> {
        self.require(&target.collection)?;
        let search = Search::new(place, spec)?.with_marked();
        let rows = search
            .candidates(client, self.page, &name(&place.mapping.id))
            .await?;
        let ids = rows
            .iter()
            .filter_map(|row| row.get(&place.mapping.id))
            .filter_map(id_text);
        let ids: Vec<RecordId> = ids.filter_map(|id| RecordId::new(id).ok()).collect();
        let states = self.get(client, target, &ids).await?;
        let live = ids.into_iter().zip(states).filter_map(|(id, state)| match state {
            RemoteState::Live(live) => Some((id, live)),
            RemoteState::Missing | RemoteState::Deleted(_) => None,
        });
        Ok(SearchPage {
            hits: search.answer(live.collect())?,
            server_time: Some(client.server_clock().now()),
        })
    }

    async fn get_page(&self, client: &Client, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        let arguments = GetArguments {
            p_scope: target.scope.key().as_str(),
            p_collection: target.collection.as_str(),
            p_ids: ids,
        };
        let answer: GetAnswer = client.call("sync_get", &arguments).await?;
        if answer.states.len() != ids.len() {
            let why = format!(
                "{} ids were asked for, {} states answered",
                ids.len(),
                answer.states.len()
            );
            return Err(SyncError::new(ErrorKind::Malformed, why));
        }
        let read = |(id, raw): (&RecordId, &Option<Box<RawValue>>)| match raw {
            None => Ok(RemoteState::Missing),
            Some(raw) => read_state(raw)
                .map(|(_, state)| state)
                .map_err(|row| SyncError::new(ErrorKind::Malformed, row.error).with_field(id.as_str())),
        };
        ids.iter().zip(&answer.states).map(read).collect()
    }

    /// One page of the ids of live records, in their own order.
    pub(crate) async fn list_ids(
        &self,
        client: &Client,
        target: &Target,
        after: Option<&str>,
        limit: u32,
    ) -> Result<IdPage> {
        self.require(&target.collection)?;
        let answer: ListAnswer = shrinking(limit.clamp(1, self.page), |limit| async move {
            let arguments = ListArguments {
                p_scope: target.scope.key().as_str(),
                p_collection: target.collection.as_str(),
                p_after: after,
                p_limit: limit,
            };
            client.call("sync_list_ids", &arguments).await
        })
        .await?;
        // An id that no record can have is no record; pulls report it.
        let ids = answer.ids.into_iter();
        let ids = ids.filter_map(|(id, version)| Some((RecordId::new(id).ok()?, read_version(&version))));
        Ok(IdPage {
            ids: ids.collect(),
            next: answer.next,
        })
    }
}

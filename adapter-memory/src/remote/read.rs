//! Reads beside pulls: single records, listings of ids, searches.

use std::ops::Bound;

use sync_core::{
    ErrorKind, IdPage, RecordId, RemoteState, Result, SearchPage, SearchSupport, SyncError, SyncScope,
    Target,
    query::{Comparison, Filter, QuerySpec, evaluate},
};

use super::{
    pull::page_size,
    state::{Backend, Content},
};

impl Backend {
    pub(super) fn check_access(&self, scope: &SyncScope) -> Result<()> {
        if self.revoked.contains(scope) {
            return Err(SyncError::new(
                ErrorKind::ScopeRevoked,
                "the client may no longer see this scope",
            ));
        }
        Ok(())
    }

    pub(super) fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        self.check_access(&target.scope)?;
        let rows = self.data.rows.get(target);
        let state = |id: &RecordId| match rows.and_then(|rows| rows.by_id.get(id)) {
            None => Ok(RemoteState::Missing),
            Some(row) => self.state(row).ok_or_else(|| {
                SyncError::new(ErrorKind::Malformed, "the row is not a JSON object").with_field(id.as_str())
            }),
        };
        ids.iter().map(state).collect()
    }

    pub(super) fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        if !self.capabilities.id_list {
            return Err(SyncError::unsupported(
                "list_ids",
                "this remote does not list ids",
            ));
        }
        self.check_access(&target.scope)?;
        let after = after.map(RecordId::new).transpose()?;
        let Some(rows) = self.data.rows.get(target) else {
            return Ok(IdPage::default());
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = |content: &Content| match content {
            Content::Live(_) => true,
            Content::Deleted => false,
            Content::Malformed { named, .. } => *named,
        };
        let mut found = rows
            .by_id
            .range((from, Bound::Unbounded))
            .filter(|(_, row)| listed(&row.content));
        let size = page_size(&self.capabilities, limit) as usize;
        let ids: Vec<_> = found
            .by_ref()
            .take(size)
            .map(|(id, row)| (id.clone(), Some(row.version.clone())))
            .collect();
        let next = found
            .next()
            .and_then(|_| ids.last().map(|(id, _)| id.to_string()));
        Ok(IdPage { ids, next })
    }

    pub(super) fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        // Also bounds the depth of the filter, which the check below walks down.
        spec.validate()?;
        match self.capabilities.search {
            SearchSupport::Full => {}
            SearchSupport::Partial => spec.filter.as_ref().map_or(Ok(()), refuse_text_operators)?,
            _ => return Err(SyncError::unsupported("search", "this remote does not search")),
        }
        self.check_access(&target.scope)?;
        let Some(rows) = self.data.rows.get(target) else {
            return Ok(SearchPage {
                hits: Vec::new(),
                server_time: self.told_time(),
            });
        };
        let live = rows.by_id.iter().filter_map(|(id, row)| match &row.content {
            Content::Live(payload) => Some((id.clone(), payload.clone())),
            _ => None,
        });
        let found = evaluate(spec, live)?;
        let versioned = |(id, _)| match rows.by_id.get(&id).and_then(|row| self.state(row)) {
            Some(RemoteState::Live(record)) => Some((id, record)),
            _ => None,
        };
        Ok(SearchPage {
            hits: found.into_iter().filter_map(versioned).collect(),
            server_time: self.told_time(),
        })
    }
}

/// A remote with partial support knows no operators on texts.
fn refuse_text_operators(filter: &Filter) -> Result<()> {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().try_for_each(refuse_text_operators),
        Filter::Not(part) => refuse_text_operators(part),
        Filter::Compare { field, comparison } => match comparison {
            Comparison::Like(_) | Comparison::Contains(_) | Comparison::StartsWith(_) => Err(comparison
                .operator()
                .unsupported(field, "this remote does not look into texts")),
            _ => Ok(()),
        },
    }
}

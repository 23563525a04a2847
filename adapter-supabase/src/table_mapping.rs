//! Which table holds a collection, and what its columns are for.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::Result;

use crate::config::refused;

/// The table that holds the records of a collection.
///
/// A column holds the field of the same name. The feed knows its tables by the migration; this is what searches, and
/// a project without the feed, go by.
///
/// ```
/// use adapter_supabase::SupabaseTable;
/// let todos = SupabaseTable::new("todos").with_table("todo_items").with_scope_key("project", "project_id");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupabaseTable {
    pub(crate) collection: String,
    pub(crate) table: String,
    pub(crate) id: String,
    pub(crate) scope: ScopeColumns,
    pub(crate) updated_at: String,
    pub(crate) soft_delete: Option<String>,
    pub(crate) columns: BTreeMap<String, ColumnKind>,
}

/// What a column holds, so that searches know what the database makes of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnKind {
    /// `text` or `varchar`, with a collation that tells all texts apart, as all do unless made otherwise.
    Text,
    /// `uuid`.
    Uuid,
    /// `smallint`, `integer` or `bigint`.
    Integer,
    /// `double precision`, without NaN and infinities.
    Float,
    /// `numeric`.
    Decimal,
    /// `boolean`.
    Boolean,
    /// `timestamptz`.
    Time,
    /// `json` or `jsonb`.
    Json,
    /// `text[]`.
    TextList,
    /// Anything else. Comparisons of it are made on this side.
    Other,
}

/// How the rows of a scope are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScopeColumns {
    /// A text column holds the whole scope key.
    Whole(String),
    /// A column for each key of the scope.
    Keys(BTreeMap<String, String>),
}

impl SupabaseTable {
    /// The table with the collection's name, with the columns `id` and `updated_at`, all in one scope.
    pub fn new(collection: impl Into<String>) -> Self {
        let collection = collection.into();
        Self {
            table: collection.clone(),
            collection,
            id: "id".to_owned(),
            scope: ScopeColumns::Keys(BTreeMap::new()),
            updated_at: "updated_at".to_owned(),
            soft_delete: None,
            columns: BTreeMap::new(),
        }
    }

    /// The name of the table, if it is not the collection's.
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// The column of the id, if it is not `id`.
    #[must_use]
    pub fn with_id(mut self, column: impl Into<String>) -> Self {
        self.id = column.into();
        self
    }

    /// The column that holds the value of a scope's key. The scopes of the collection have exactly the keys that are
    /// given so.
    #[must_use]
    pub fn with_scope_key(mut self, key: impl Into<String>, column: impl Into<String>) -> Self {
        if !matches!(self.scope, ScopeColumns::Keys(_)) {
            self.scope = ScopeColumns::Keys(BTreeMap::new());
        }
        if let ScopeColumns::Keys(keys) = &mut self.scope {
            keys.insert(key.into(), column.into());
        }
        self
    }

    /// The text column that holds the whole scope key.
    #[must_use]
    pub fn with_scope_column(mut self, column: impl Into<String>) -> Self {
        self.scope = ScopeColumns::Whole(column.into());
        self
    }

    /// The column with the time of the last write, set by the database; `updated_at` unless said otherwise. A project
    /// without the feed needs it, with an index on (it, the id).
    #[must_use]
    pub fn with_updated_at(mut self, column: impl Into<String>) -> Self {
        self.updated_at = column.into();
        self
    }

    /// In a project without the feed, deletes set this timestamp column instead of removing the row, so that other
    /// devices learn of them with the next pull. The feed has tombstones and does not use it.
    #[must_use]
    pub fn with_soft_delete(mut self, column: impl Into<String>) -> Self {
        self.soft_delete = Some(column.into());
        self
    }

    /// A column with a field of the records, and what it holds. Searches narrow down by such columns. In a project
    /// without the feed, once one is named, only named ones are read; otherwise all are.
    #[must_use]
    pub fn with_column(mut self, column: impl Into<String>, kind: ColumnKind) -> Self {
        self.columns.insert(column.into(), kind);
        self
    }

    /// Whether a column says when a row was written, or that it is deleted, or is its id.
    pub(crate) fn is_own(&self, column: &str) -> bool {
        column == self.id || column == self.updated_at || self.soft_delete.as_deref() == Some(column)
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        let scope: Vec<&str> = match &self.scope {
            ScopeColumns::Whole(column) => vec![column],
            ScopeColumns::Keys(keys) => keys.values().map(String::as_str).collect(),
        };
        let mut columns = vec![self.id.as_str(), self.updated_at.as_str()];
        columns.extend(scope);
        columns.extend(self.soft_delete.as_deref());
        if self.table.is_empty() || columns.iter().any(|column| column.is_empty()) {
            let why = format!("a name of the collection `{}` is empty", self.collection);
            return Err(refused("collection", why));
        }
        let names: BTreeSet<&str> = columns.iter().copied().collect();
        if names.len() < columns.len() {
            let why = format!("one column of `{}` was given two purposes", self.table);
            return Err(refused("collection", why));
        }
        Ok(())
    }
}

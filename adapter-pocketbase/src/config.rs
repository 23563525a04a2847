//! Where the server is, and how its collections hold an app's records.

use std::{collections::BTreeMap, time::Duration};

use sync_core::{ErrorKind, Result, SyncError};
use sync_http::BaseUrl;

use crate::fields::FieldKind;

/// The most operations in one batch unless said otherwise; also the server's own default.
const PUSH_BATCH: u32 = 50;

/// How far every pull of a plain server reads back unless said otherwise.
const OVERLAP: Duration = Duration::from_secs(10);

/// A PocketBase and the collections on it.
///
/// ```
/// use adapter_pocketbase::{CollectionMapping, FieldKind, PocketBaseConfig};
/// let config = PocketBaseConfig::new("https://example.com")?
///     .with_collection(CollectionMapping::document("todos", "doc").with_scope_field("user", "owner"))
///     .with_collection(CollectionMapping::fields("tags", [("name", FieldKind::Text), ("order", FieldKind::Number)]));
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PocketBaseConfig {
    pub(crate) url: BaseUrl,
    pub(crate) collections: Vec<CollectionMapping>,
    pub(crate) overlap: Duration,
    pub(crate) push_batch: u32,
    pub(crate) deadline: Duration,
    pub(crate) needs_feed: bool,
}

impl PocketBaseConfig {
    /// A server without collections.
    ///
    /// # Errors
    /// `Configuration` if `url` is not the address of a server.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self {
            url: BaseUrl::parse(url)?,
            collections: Vec::new(),
            overlap: OVERLAP,
            push_batch: PUSH_BATCH,
            deadline: sync_http::DEFAULT_DEADLINE,
            needs_feed: false,
        })
    }

    /// Adds a collection.
    #[must_use]
    pub fn with_collection(mut self, mapping: CollectionMapping) -> Self {
        self.collections.push(mapping);
        self
    }

    /// How far every pull of a plain server reads back: longer than a write there waits for its turn. 10 seconds
    /// unless said otherwise. What commits later still is found by the id sweep.
    #[must_use]
    pub fn with_overlap(mut self, overlap: Duration) -> Self {
        self.overlap = overlap;
        self
    }

    /// The most operations in one batch, at least 1; 50 unless said otherwise. A lower limit of the server holds.
    #[must_use]
    pub fn with_push_batch(mut self, operations: u32) -> Self {
        self.push_batch = operations.max(1);
        self
    }

    /// How long one request may take; 30 seconds unless said otherwise. Longer than the server's own limit for
    /// batches (3 seconds by default).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Refuses a server on which a collection has no feed, rather than using it with weaker guarantees.
    #[must_use]
    pub fn require_feed(mut self) -> Self {
        self.needs_feed = true;
        self
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |field: &str, why: String| {
            Err(SyncError::new(ErrorKind::Configuration, why).with_field(field.to_owned()))
        };
        if self.collections.is_empty() {
            return refuse(
                "collections",
                "there is none; add one with `with_collection`".to_owned(),
            );
        }
        for (place, mapping) in self.collections.iter().enumerate() {
            if self.collections[..place]
                .iter()
                .any(|other| other.name == mapping.name)
            {
                return refuse("collections", format!("`{}` is there twice", mapping.name));
            }
            for name in mapping.column_names() {
                if !is_plain_name(name) {
                    let why = format!("`{name}` of `{}` is not a name PocketBase has", mapping.name);
                    return refuse("collections", why);
                }
            }
        }
        Ok(())
    }
}

/// What needs no quoting in a filter or a path.
fn is_plain_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// How a PocketBase collection holds the content of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The whole record as JSON text in one column.
    Document { column: String },
    /// A column for each field.
    Fields {
        id_field: String,
        fields: BTreeMap<String, FieldKind>,
    },
}

/// How one PocketBase collection holds the records of one collection of the app.
///
/// In both forms the adapter reads and writes only the columns named here (and those of the feed). A value that
/// the server would change on the way is refused before it is sent, by the name of its field.
#[derive(Clone, Debug)]
pub struct CollectionMapping {
    pub(crate) name: String,
    pub(crate) table: String,
    pub(crate) content: Content,
    pub(crate) derived_ids: Option<String>,
    pub(crate) scope: BTreeMap<String, String>,
    pub(crate) updated: String,
    pub(crate) soft_delete: Option<String>,
    pub(crate) feed_prefix: Option<String>,
}

impl CollectionMapping {
    fn new(name: impl Into<String>, content: Content) -> Self {
        let name = name.into();
        Self {
            table: name.clone(),
            name,
            content,
            derived_ids: None,
            scope: BTreeMap::new(),
            updated: "updated".to_owned(),
            soft_delete: None,
            feed_prefix: None,
        }
    }

    /// Whole records as JSON text in the text column `column`: nothing is lost, whatever the records hold, and the
    /// server need not know their fields. Raise the column's maximum length: PocketBase's default is 5,000.
    pub fn document(name: impl Into<String>, column: impl Into<String>) -> Self {
        let column = column.into();
        Self::new(name, Content::Document { column })
    }

    /// A column of the same name for each field, so that rules, the dashboard and other clients can use them.
    /// Every field that records have must be named, except the id.
    pub fn fields<F: Into<String>>(
        name: impl Into<String>,
        fields: impl IntoIterator<Item = (F, FieldKind)>,
    ) -> Self {
        let fields = fields
            .into_iter()
            .map(|(field, kind)| (field.into(), kind))
            .collect();
        Self::new(
            name,
            Content::Fields {
                id_field: "id".to_owned(),
                fields,
            },
        )
    }

    /// The name of the PocketBase collection, if it is not the app's own.
    #[must_use]
    pub fn in_collection(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// The field of records that is their id, `id` unless said otherwise. Of use with columns only.
    #[must_use]
    pub fn with_id_field(mut self, field: impl Into<String>) -> Self {
        if let Content::Fields { id_field, .. } = &mut self.content {
            *id_field = field.into();
        }
        self
    }

    /// Makes the ids of rows from the scope and the id of the record, which itself goes into the text column
    /// `column`. So any id can be used, and the same in two scopes; otherwise the id of a record is that of its
    /// row, and must be as PocketBase wants it (15 of `[a-z0-9]` by default).
    #[must_use]
    pub fn with_derived_ids(mut self, column: impl Into<String>) -> Self {
        self.derived_ids = Some(column.into());
        self
    }

    /// The column that holds the value of a scope's key. The scopes of the collection have exactly the keys that
    /// are mapped so. The name of the scope is the app's own and selects nothing.
    #[must_use]
    pub fn with_scope_field(mut self, key: impl Into<String>, column: impl Into<String>) -> Self {
        self.scope.insert(key.into(), column.into());
        self
    }

    /// The autodate column that is set at every write, `updated` unless said otherwise. A plain server needs it,
    /// with an index on (it, `id`).
    #[must_use]
    pub fn with_updated_field(mut self, column: impl Into<String>) -> Self {
        self.updated = column.into();
        self
    }

    /// On a plain server, deletes set this bool column instead of removing the row, so that other devices learn of
    /// them with the next pull. A feed has tombstones and does not use it.
    #[must_use]
    pub fn with_soft_delete(mut self, column: impl Into<String>) -> Self {
        self.soft_delete = Some(column.into());
        self
    }

    /// The prefix of the feed's names, if [`FeedOptions::with_prefix`](crate::feed::FeedOptions::with_prefix) was
    /// given one.
    #[must_use]
    pub fn with_feed_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.feed_prefix = Some(prefix.into());
        self
    }

    fn column_names(&self) -> impl Iterator<Item = &str> {
        let content: Vec<&str> = match &self.content {
            Content::Document { column } => vec![column],
            Content::Fields { fields, .. } => fields.keys().map(String::as_str).collect(),
        };
        [self.table.as_str(), self.updated.as_str()]
            .into_iter()
            .chain(content)
            .chain(self.derived_ids.as_deref())
            .chain(self.scope.values().map(String::as_str))
            .chain(self.soft_delete.as_deref())
            .chain(self.feed_prefix.as_deref())
    }
}

//! One synchronized table: what the user chooses, and the SQL that comes of it.

use sync_core::{Result, SyncError, SyncScope};

use super::names::{check_name, literal, quoted_name, text_array};

const TEMPLATE: &str = include_str!("table.sql");
const MAX_COLLECTION_CHARS: usize = 40;

/// How the scope of a row follows from its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeRule {
    /// A text column holds the whole scope key. If it is not among the columns that clients see, the database sets
    /// it to the scope of the push when a client makes a row.
    Column(String),
    /// The scope has this name, and each key has the value of a column: `project?id=p1` of a column `project_id`.
    Keys {
        /// The name of the scope.
        name: String,
        /// Keys and the columns with their values.
        keys: Vec<(String, String)>,
    },
    /// An SQL expression over the columns of the row, with every function qualified by its schema, that gives the
    /// canonical text of a scope key or null for a row that is not synchronized. It is taken over as it is.
    Expression(String),
}

impl ScopeRule {
    /// A text column that holds the whole scope key.
    pub fn column(name: impl Into<String>) -> Self {
        Self::Column(name.into())
    }

    /// A scope with one key.
    pub fn key(scope: impl Into<String>, key: impl Into<String>, column: impl Into<String>) -> Self {
        Self::Keys {
            name: scope.into(),
            keys: vec![(key.into(), column.into())],
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Column(column) => check_name("scope.column", column),
            Self::Keys { name, keys } => {
                if keys.is_empty() {
                    return Err(SyncError::invalid("scope.keys", "a scope needs at least one key"));
                }
                for (_, column) in keys {
                    check_name("scope.keys", column)?;
                }
                empty_scope(name, keys).map(|_| ())
            }
            Self::Expression(sql) if sql.trim().is_empty() => {
                Err(SyncError::invalid("scope.expression", "must not be empty"))
            }
            Self::Expression(_) => Ok(()),
        }
    }

    fn expression(&self) -> Result<String> {
        match self {
            Self::Column(column) => Ok(quoted_name(column)),
            Self::Expression(sql) => Ok(sql.clone()),
            Self::Keys { name, keys } => {
                // The text of the scope with empty values has the escaped names in their canonical order.
                let empty = empty_scope(name, keys)?;
                let mut parts = Vec::new();
                let mut rest = empty.key().as_str();
                for key in empty.keys().keys() {
                    let end = rest.find('=').map_or(rest.len(), |at| at + 1);
                    let column = keys.iter().rev().find(|(known, _)| known == key);
                    let column = column.map(|(_, column)| quoted_name(column)).unwrap_or_default();
                    parts.push(format!(
                        "{} || sync.escape({column}::text)",
                        literal(&rest[..end])
                    ));
                    rest = &rest[end..];
                }
                Ok(parts.join(" || "))
            }
        }
    }

    fn fill_column(&self, columns: &[String]) -> Option<&str> {
        match self {
            Self::Column(column) if !columns.contains(column) => Some(column),
            _ => None,
        }
    }
}

fn empty_scope(name: &str, keys: &[(String, String)]) -> Result<SyncScope> {
    keys.iter()
        .try_fold(SyncScope::new(name)?, |scope, (key, _)| scope.with(key, ""))
}

/// A table that takes part in the feed.
///
/// ```
/// use adapter_supabase::migration::{FeedTable, ScopeRule};
/// let todos = FeedTable::new("todos", ScopeRule::key("project", "id", "project_id"))
///     .columns(["project_id", "title", "done"])
///     .read_only(["updated_at"]);
/// assert!(todos.to_sql()?.contains(r#"'project?id=' || sync.escape("project_id"::text)"#));
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedTable {
    collection: String,
    schema: String,
    table: String,
    id: String,
    scope: ScopeRule,
    columns: Vec<String>,
    read_only: Vec<String>,
}

impl FeedTable {
    /// The table `public.<collection>` with the primary key `id`, and no other columns yet.
    pub fn new(collection: impl Into<String>, scope: ScopeRule) -> Self {
        let collection = collection.into();
        Self {
            schema: "public".to_owned(),
            table: collection.clone(),
            collection,
            id: "id".to_owned(),
            scope,
            columns: Vec::new(),
            read_only: Vec::new(),
        }
    }

    /// Another table than the one with the collection's name in `public`.
    pub fn table(mut self, schema: impl Into<String>, table: impl Into<String>) -> Self {
        self.schema = schema.into();
        self.table = table.into();
        self
    }

    /// Another id column. It must be the primary key or unique and not null, of type uuid, text, integer or bigint.
    pub fn id(mut self, column: impl Into<String>) -> Self {
        self.id = column.into();
        self
    }

    /// Columns that clients see and write, besides the id.
    pub fn columns<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.columns.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Columns that clients see; what they send for them is left aside.
    pub fn read_only<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.read_only.extend(columns.into_iter().map(Into::into));
        self
    }

    /// The SQL that puts the table into the feed, or changes how it takes part.
    ///
    /// # Errors
    /// `Invalid` naming the field that is wrong: a name that PostgreSQL would cut or cannot have, a column given
    /// twice, a scope without keys.
    pub fn to_sql(&self) -> Result<String> {
        self.check()?;
        let writable: Vec<String> = [&self.id].into_iter().chain(&self.columns).cloned().collect();
        let columns: Vec<String> = writable.iter().chain(&self.read_only).cloned().collect();
        let scope = self.scope.expression()?;
        let table = format!("{}.{}", quoted_name(&self.schema), quoted_name(&self.table));
        for (field, text) in [("scope", &scope), ("table", &table), ("id", &self.id)] {
            // It would end the body of the trigger function.
            if text.contains("$capture$") {
                return Err(SyncError::invalid(field, "must not contain $capture$"));
            }
        }
        let fill = self.scope.fill_column(&columns);
        let values = [
            ("collection", self.collection.clone()),
            ("table", table.clone()),
            ("id", quoted_name(&self.id)),
            ("scope", scope.clone()),
            ("capture", quoted_name(&format!("capture_{}", self.collection))),
            ("collection_literal", literal(&self.collection)),
            ("table_literal", literal(&table)),
            ("id_literal", literal(&self.id)),
            ("scope_literal", literal(&scope)),
            ("fill_literal", fill.map_or_else(|| "null".to_owned(), literal)),
            ("columns_literal", text_array(&columns)),
            ("writable_literal", text_array(&writable)),
        ];
        Ok(fill_in(TEMPLATE, &values))
    }

    fn check(&self) -> Result<()> {
        let mut letters = self.collection.chars();
        let starts = letters.next().is_some_and(|first| first.is_ascii_lowercase());
        let goes_on = letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !starts || !goes_on || self.collection.len() > MAX_COLLECTION_CHARS {
            let message = format!(
                "{:?} must begin with a small letter and have at most {MAX_COLLECTION_CHARS} small letters, digits and \
                 underscores; the table may be called anything",
                self.collection
            );
            return Err(SyncError::invalid("collection", message));
        }
        check_name("schema", &self.schema)?;
        check_name("table", &self.table)?;
        check_name("id", &self.id)?;
        self.scope.check()?;
        let mut seen = vec![&self.id];
        for (field, column) in (self.columns.iter().map(|column| ("columns", column)))
            .chain(self.read_only.iter().map(|column| ("read_only", column)))
        {
            check_name(field, column)?;
            if seen.contains(&column) {
                return Err(SyncError::invalid(
                    field,
                    format!("the column {column:?} is given twice"),
                ));
            }
            seen.push(column);
        }
        Ok(())
    }

    pub(super) fn collection(&self) -> &str {
        &self.collection
    }
}

/// Puts values into a template in one pass, so that nothing inside a value is taken for a place.
fn fill_in(template: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, place) = rest.split_at(start);
        filled.push_str(before);
        let named = values.iter().find_map(|(name, value)| {
            let tail = place[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((value, tail))
        });
        rest = match named {
            Some((value, tail)) => {
                filled.push_str(value);
                tail
            }
            None => {
                filled.push('{');
                &place[1..]
            }
        };
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_of_several_keys_is_written_in_canonical_order() {
        let rule = ScopeRule::Keys {
            name: "tasks & more".to_owned(),
            keys: vec![
                ("user".to_owned(), "owner".to_owned()),
                ("project".to_owned(), "project_id".to_owned()),
            ],
        };
        assert_eq!(
            rule.expression().unwrap(),
            "'tasks %26 more?project=' || sync.escape(\"project_id\"::text) || '&user=' || sync.escape(\"owner\"::text)"
        );
    }

    #[test]
    fn a_scope_column_that_clients_do_not_see_is_filled() {
        let hidden = FeedTable::new("todo", ScopeRule::column("scope"))
            .to_sql()
            .unwrap();
        assert!(hidden.contains("'\"scope\"', 'scope',"), "{hidden}");
        let shown = FeedTable::new("todo", ScopeRule::column("scope"))
            .columns(["scope"])
            .to_sql()
            .unwrap();
        assert!(shown.contains("'\"scope\"', null,"), "{shown}");
    }

    #[test]
    fn what_stands_in_a_name_is_never_taken_for_sql() {
        let hostile = "x\"); drop table users; --{scope}";
        let sql = FeedTable::new("todo", ScopeRule::column("scope"))
            .table(hostile, hostile)
            .columns([hostile])
            .to_sql()
            .unwrap();
        assert!(sql.contains("--{scope}"), "a name is not a template: {sql}");
        assert!(
            sql.contains(r#"on "x""); drop table users; --{scope}"."x"#),
            "{sql}"
        );
        let quoting = FeedTable::new("todo", ScopeRule::column("a$capture$b"));
        assert_eq!(quoting.to_sql().unwrap_err().field(), Some("scope"));
    }

    #[test]
    fn wrong_choices_are_refused_by_field() {
        let rule = || ScopeRule::column("scope");
        let cases = [
            (FeedTable::new("Todo", rule()), "collection"),
            (FeedTable::new("todo; drop", rule()), "collection"),
            (FeedTable::new("todo", rule()).id(""), "id"),
            (FeedTable::new("todo", rule()).columns(["a", "a"]), "columns"),
            (
                FeedTable::new("todo", rule()).columns(["a"]).read_only(["a"]),
                "read_only",
            ),
            (FeedTable::new("todo", rule()).columns(["id"]), "columns"),
            (FeedTable::new("todo", ScopeRule::column("")), "scope.column"),
            (
                FeedTable::new("todo", ScopeRule::Expression(" ".into())),
                "scope.expression",
            ),
        ];
        for (table, field) in cases {
            assert_eq!(table.to_sql().unwrap_err().field(), Some(field), "{table:?}");
        }
    }
}

//! Where the records of a target lie: a table, and the values that its scope columns have.

use sync_core::{Result, SyncScope};
use sync_http::Method;

use crate::{
    client::Call,
    config::refused,
    filter_text::quoted,
    table_mapping::{ScopeColumns, SupabaseTable},
};

/// A table, and the rows of it that belong to a scope.
#[derive(Clone, Debug)]
pub(crate) struct Place<'m> {
    pub(crate) mapping: &'m SupabaseTable,
    /// Columns with the value that they have in each row of the scope.
    pub(crate) scope: Vec<(String, String)>,
}

impl<'m> Place<'m> {
    /// # Errors
    /// `Configuration` naming the key if the scope has others than the table has columns for.
    pub(crate) fn new(mapping: &'m SupabaseTable, scope: &SyncScope) -> Result<Self> {
        let unfit = |key: &str, why: &str| {
            let why = format!(
                "the scope {scope} {why} of the collection `{}`",
                mapping.collection
            );
            Err(refused(key, why))
        };
        let columns = match &mapping.scope {
            ScopeColumns::Whole(column) => vec![(column.clone(), scope.key().as_str().to_owned())],
            ScopeColumns::Keys(columns) => {
                for key in scope.keys().keys() {
                    if !columns.contains_key(key) {
                        return unfit(key, "has a key that is no scope column");
                    }
                }
                let mut found = Vec::new();
                for (key, column) in columns {
                    match scope.value(key) {
                        Some(value) => found.push((column.clone(), value.to_owned())),
                        None => return unfit(key, "has no value for a scope column"),
                    }
                }
                found
            }
        };
        Ok(Self {
            mapping,
            scope: columns,
        })
    }

    /// A request about the rows of the scope.
    pub(crate) fn call(&self, method: Method) -> Call {
        let call = Call::table(method, &self.mapping.table);
        self.scope.iter().fold(call, |call, (column, value)| {
            call.query(column, format!("eq.{value}"))
        })
    }

    /// A request for whole rows of the scope.
    pub(crate) fn rows(&self) -> Call {
        self.call(Method::GET).query("select", self.whole_row())
    }

    /// Whether a column is the adapter's business: what a record holds for it is left aside.
    pub(super) fn is_own(&self, column: &str) -> bool {
        self.mapping.is_own(column) || self.scope.iter().any(|(own, _)| own == column)
    }

    /// The columns of a row that are read.
    pub(super) fn whole_row(&self) -> String {
        let mapping = self.mapping;
        if mapping.columns.is_empty() {
            return "*".to_owned();
        }
        let own = [&mapping.id, &mapping.updated_at];
        let own = own.into_iter().chain(mapping.soft_delete.as_ref());
        let more = mapping.columns.keys().filter(|column| !mapping.is_own(column));
        let names: Vec<String> = own.chain(more).map(|column| name(column)).collect();
        names.join(",")
    }
}

/// A column where its name stands between others.
pub(crate) fn name(column: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if column.chars().all(plain) {
        column.to_owned()
    } else {
        quoted(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_must_have_exactly_the_keys_that_have_columns() {
        let table = SupabaseTable::new("todos").with_scope_key("list", "list_id");
        let place = |scope: SyncScope| Place::new(&table, &scope).map(|place| place.scope);
        let scope = SyncScope::new("s").unwrap();
        let one = scope.clone().with("list", "a,b").unwrap();
        assert_eq!(
            place(one.clone()).unwrap(),
            [("list_id".to_owned(), "a,b".to_owned())]
        );
        assert_eq!(place(scope.clone()).unwrap_err().field(), Some("list"));
        let two = one.clone().with("other", "x").unwrap();
        assert_eq!(place(two).unwrap_err().field(), Some("other"));
        let whole = SupabaseTable::new("todos").with_scope_column("scope");
        let whole = Place::new(&whole, &one).unwrap();
        assert_eq!(whole.scope, [("scope".to_owned(), one.key().as_str().to_owned())]);
    }
}

//! Looking at the tables before the first sync, so that what is missing is told by name.

use serde_json::Value;
use sync_core::{ErrorKind, Result, SyncError};

use crate::{
    client::Signed, error::types, query::Query, remote::AppwriteRemoteStore, row::Row, table::Table,
};

impl AppwriteRemoteStore {
    /// Looks whether the server answers, the sign-in is good, and every table can be read and has the columns that
    /// the adapter needs. As far as the rows show, also that no column is a relationship, which cannot be
    /// synchronized.
    ///
    /// What it cannot see: missing permissions to write, columns for the records' own fields, relationships of a
    /// table without rows, and unique indexes (a value that breaks one parks the operation).
    ///
    /// # Errors
    /// `Configuration` naming the endpoint, the project, the table or the column, with what to do; `Unauthenticated`
    /// if the sign-in is refused; `Forbidden` if a table cannot be read.
    pub async fn check(&self) -> Result<()> {
        self.client()
            .signed(|signed| async move {
                signed.prove().await?;
                for table in self.config().tables.values() {
                    check_table(&signed, table).await?;
                }
                Ok(())
            })
            .await
            .map_err(|error| error.with_operation("check").with_adapter("appwrite"))
    }
}

async fn check_table(signed: &Signed<'_>, table: &Table) -> Result<()> {
    // A column that does not exist is refused by name, also in a table without rows.
    let texts = table
        .op_column
        .iter()
        .chain(&table.document_column)
        .chain(table.scope_columns.iter().map(|(_, column)| column));
    let mut columns = vec![
        Query::equal(&table.deleted_column, vec![Value::Bool(false)]),
        Query::is_null(&table.deleted_column),
    ];
    columns.extend(texts.map(|column| Query::is_null(column)));
    let queries = vec![Query::or(columns), Query::limit(1)];
    let listed = signed
        .list(table, queries)
        .await
        .map_err(|error| explain(error, table))?;
    match listed.rows.into_iter().next() {
        Some(Ok(row)) => no_relationships(&row, table),
        _ => Ok(()),
    }
}

fn explain(error: SyncError, table: &Table) -> SyncError {
    let name = format!("`{}` of the database `{}`", table.table, table.database);
    match (error.kind(), error.code()) {
        (ErrorKind::Configuration, Some(types::QUERY_INVALID)) => {
            let column = error.field().unwrap_or_default().to_owned();
            let need = if column == table.deleted_column {
                "a boolean with the default `false`"
            } else if table.op_column.as_ref() == Some(&column) {
                "a text of 36 characters, or set the table up without_op_column()"
            } else {
                "a text"
            };
            let why = format!("the table {name} needs this column: {need} ({})", error.message());
            SyncError::new(ErrorKind::Configuration, why)
                .with_field(column)
                .with_code(types::QUERY_INVALID)
        }
        (ErrorKind::Forbidden, _) => {
            let why = format!(
                "the table {name} cannot be read; give the user's role the permission to read ({})",
                error.message()
            );
            SyncError::new(ErrorKind::Forbidden, why).with_field("table")
        }
        (ErrorKind::Configuration, Some("table_not_found" | "database_not_found")) => {
            let why = format!(
                "there is no table {name}; make it, or correct its ids ({})",
                error.message()
            );
            SyncError::new(ErrorKind::Configuration, why).with_field("table")
        }
        _ => error,
    }
}

fn no_relationships(row: &Row, table: &Table) -> Result<()> {
    let related = row.columns.iter().find(|(_, value)| match value {
        Value::Object(_) => true,
        Value::Array(elements) => elements.iter().any(Value::is_object),
        _ => false,
    });
    match related {
        None => Ok(()),
        Some((column, _)) => {
            let why = format!(
                "this column of the table `{}` is a relationship, which cannot be synchronized; keep the other row's \
                 id in a text column",
                table.table
            );
            Err(SyncError::new(ErrorKind::Configuration, why).with_field(column.as_str()))
        }
    }
}

//! The tables as they are in the file, read past the store.

use std::{collections::BTreeMap, str::FromStr};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};
use sync_core::Result;

use crate::{disk::Disk, world::internal};

/// The rows of every table, as SQL literals.
pub(crate) type Dump = BTreeMap<String, Vec<String>>;

async fn connect(disk: &Disk) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::from_str(&disk.url()).map_err(internal)?;
    options
        .disable_statement_logging()
        .connect()
        .await
        .map_err(internal)
}

async fn texts(connection: &mut SqliteConnection, sql: String) -> Result<Vec<String>> {
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .map_err(internal)?;
    rows.iter().map(|row| row.try_get(0).map_err(internal)).collect()
}

/// Reads every table, and whether SQLite finds the file sound. The store must be open, or else closing this
/// connection would change the files.
pub(crate) async fn read(disk: &Disk) -> Result<(Dump, String)> {
    let mut connection = connect(disk).await?;
    let read = read_all(&mut connection).await;
    connection.close().await.map_err(internal)?;
    read
}

async fn read_all(connection: &mut SqliteConnection) -> Result<(Dump, String)> {
    // The history of the schema has the time of the migration, which is real.
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'sync!_%' ESCAPE '!' \
                  AND name <> 'sync_migrations'";
    let mut dump = Dump::new();
    for table in texts(connection, tables.to_owned()).await? {
        let columns = format!(
            "SELECT group_concat('quote(' || name || ')', '||'',''||') FROM pragma_table_info('{table}')"
        );
        let columns = texts(connection, columns).await?.join("");
        let rows = texts(
            connection,
            format!("SELECT {columns} AS line FROM {table} ORDER BY line"),
        )
        .await?;
        dump.insert(table, rows);
    }
    let sound = texts(connection, "PRAGMA integrity_check".to_owned()).await?;
    Ok((dump, sound.join("; ")))
}

/// Writes the log back into the database.
pub(crate) async fn checkpoint(disk: &Disk) -> Result<()> {
    let mut connection = connect(disk).await?;
    let done = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await;
    connection.close().await.map_err(internal)?;
    done.map(drop).map_err(internal)
}

/// The rows in which two dumps differ, for messages.
pub(crate) fn difference(expected: &Dump, found: &Dump) -> String {
    let mut lines = Vec::new();
    for table in expected
        .keys()
        .chain(found.keys().filter(|table| !expected.contains_key(*table)))
    {
        let rows = |dump: &Dump| dump.get(table).cloned().unwrap_or_default();
        let (expected, found) = (rows(expected), rows(found));
        let missing = expected.iter().filter(|row| !found.contains(row));
        lines.extend(missing.map(|row| format!("{table} lacks {row}")));
        let extra = found.iter().filter(|row| !expected.contains(row));
        lines.extend(extra.map(|row| format!("{table} has {row}")));
    }
    let mut text = lines.join("; ");
    if let Some((end, _)) = text.char_indices().nth(600) {
        text.truncate(end);
    }
    text
}

//! Bringing a database to the current schema version: once, also when two processes start together.

use async_trait::async_trait;
use sync_core::{Clock, ErrorKind, Result, SyncError, SystemClock};

use super::tables;
use crate::{
    dialect::Dialect,
    driver::{self, Database, Run, Transaction, Write},
    error::corrupt,
    row::ReadRow,
    sql::Sql,
};

/// One step of the schema's history. Steps that were released never change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) version: i64,
    pub(crate) name: &'static str,
    pub(crate) statements: fn(Dialect) -> Vec<String>,
}

/// The history of the schema, oldest step first.
pub(crate) const STEPS: &[Step] = &[
    Step {
        version: 1,
        name: "first tables",
        statements: tables::version_1,
    },
    Step {
        version: 2,
        name: "fewer index entries for operations",
        statements: tables::version_2,
    },
    Step {
        version: 3,
        name: "fewer pages for each operation",
        statements: tables::version_3,
    },
];

/// What kind of database may be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// The database is for this store alone; tables of others make it a foreign one.
    Refused,
    /// The app keeps tables of its own beside ours.
    Welcome,
}

/// Brings the database to the last version of `steps`.
///
/// # Errors
/// `NewerSchema` if it is beyond that; `Corrupt` if it belongs to another program.
pub(crate) async fn migrate(database: &Database, steps: &[Step], neighbours: Neighbours) -> Result<()> {
    let newest = steps.last().map_or(0, |step| step.version);
    // The usual case: one read, no lock.
    if version(&database.reader(), newest, neighbours).await? == newest {
        return Ok(());
    }
    let steps = steps.to_vec();
    database.change_schema(Migration { steps, neighbours }).await
}

#[derive(Debug)]
struct Migration {
    steps: Vec<Step>,
    neighbours: Neighbours,
}

#[async_trait]
impl Write for Migration {
    type Draft = ();
    type Answer = ();

    fn rows(&self) -> usize {
        // All that there are, perhaps.
        usize::MAX
    }

    async fn run(&self, transaction: Transaction<'_>) -> Result<driver::Step<(), ()>> {
        let Self { steps, neighbours } = self;
        match transaction.dialect() {
            Dialect::Sqlite | Dialect::Postgres => apply(transaction, steps, *neighbours).await,
            Dialect::MySql => apply_under_lock(transaction, steps, *neighbours).await,
        }
        .map(driver::Step::Commit)
    }

    fn committed(&self, (): ()) {}
}

/// MySQL commits at every change of the schema, so the lock is held outside of transactions, and a step that was
/// cut off shows as a table that exists already.
async fn apply_under_lock(
    transaction: Transaction<'_>,
    steps: &[Step],
    neighbours: Neighbours,
) -> Result<()> {
    let taken = transaction
        .row(Sql::new(Dialect::MySql, "SELECT GET_LOCK('sync_migrations', 60)"))
        .await?;
    if taken.map(|row| row.opt_int(0)).transpose()?.flatten() != Some(1) {
        return Err(SyncError::new(
            ErrorKind::Busy,
            "another process has been migrating the store for a minute",
        ));
    }
    let applied = apply(transaction, steps, neighbours).await;
    let released = transaction
        .row(Sql::new(Dialect::MySql, "SELECT RELEASE_LOCK('sync_migrations')"))
        .await;
    applied.and(released.map(drop))
}

async fn apply(transaction: Transaction<'_>, steps: &[Step], neighbours: Neighbours) -> Result<()> {
    let dialect = transaction.dialect();
    let newest = steps.last().map_or(0, |step| step.version);
    let current = version(&transaction, newest, neighbours).await?;
    if current == 0 {
        let int = if dialect == Dialect::Sqlite {
            "INTEGER"
        } else {
            "BIGINT"
        };
        let (name, end) = match dialect {
            Dialect::Sqlite => ("TEXT", ") STRICT"),
            Dialect::Postgres => ("TEXT", ")"),
            Dialect::MySql => ("VARBINARY(200)", ") ENGINE=InnoDB"),
        };
        let text = format!(
            "CREATE TABLE sync_migrations (version {int} NOT NULL PRIMARY KEY, name {name} NOT NULL,
                applied_at {int} NOT NULL{end}"
        );
        transaction.script(&text).await?;
    }
    for step in steps.iter().filter(|step| step.version > current) {
        for statement in (step.statements)(dialect) {
            transaction.script(&statement).await?;
        }
        let mut history = Sql::new(
            dialect,
            "INSERT INTO sync_migrations (version, name, applied_at) VALUES ",
        );
        history
            .push("(")
            .bind(step.version)
            .push(",")
            .bind(step.name)
            .push(",")
            .bind(SystemClock::new().now())
            .push(")");
        transaction.run(history).await?;
        tracing::info!(
            version = step.version,
            name = step.name,
            "the store's schema was migrated"
        );
    }
    Ok(())
}

/// The version the database has; 0 if it has no tables of ours yet.
async fn version<R: Run>(run: &R, newest: i64, neighbours: Neighbours) -> Result<i64> {
    let dialect = run.dialect();
    let tables = run.rows(Sql::new(dialect, list_tables(dialect))).await?;
    let tables = tables.iter().map(|row| row.text(0)).collect::<Result<Vec<_>>>()?;
    if !tables.iter().any(|table| table == "sync_migrations") {
        if neighbours == Neighbours::Refused && !tables.is_empty() {
            return Err(SyncError::new(
                ErrorKind::Corrupt,
                format!(
                    "the database belongs to another program (it has a table {:?}); choose another path, or share it \
                     by passing an open connection",
                    tables[0]
                ),
            ));
        }
        return Ok(0);
    }
    let rows = run
        .rows(Sql::new(
            dialect,
            "SELECT COALESCE(MAX(version), 0) FROM sync_migrations",
        ))
        .await?;
    let current = rows
        .first()
        .ok_or_else(|| corrupt("the history of the schema is gone"))?
        .int(0)?;
    if current > newest {
        return Err(SyncError::new(
            ErrorKind::NewerSchema,
            format!(
                "the store has schema version {current}, this program knows versions up to {newest}; update the \
                 program, nothing was changed"
            ),
        ));
    }
    Ok(current)
}

fn list_tables(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        }
        Dialect::Postgres => {
            "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = current_schema()"
        }
        Dialect::MySql => "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use sync_core::{LocalStore, OpQuery, OpStateKind, Stamp, Timestamp};

    use super::*;
    use crate::{OpenOptions, SeaOrmLocalStore, commit::tests::queued, open};

    fn second(_: Dialect) -> Vec<String> {
        vec![
            "ALTER TABLE sync_settings ADD COLUMN note TEXT NOT NULL DEFAULT 'old'".to_owned(),
            "CREATE TABLE sync_extra (id INTEGER PRIMARY KEY) STRICT".to_owned(),
        ]
    }

    fn failing(_: Dialect) -> Vec<String> {
        vec![
            "CREATE TABLE sync_half (id INTEGER PRIMARY KEY) STRICT".to_owned(),
            "NOT SQL".to_owned(),
        ]
    }

    async fn history(database: &Database) -> Vec<(i64, String)> {
        let sql = Sql::new(
            Dialect::Sqlite,
            "SELECT version, name FROM sync_migrations ORDER BY version",
        );
        let rows = database.reader().rows(sql).await.unwrap();
        rows.iter()
            .map(|row| (row.int(0).unwrap(), row.text(1).unwrap()))
            .collect()
    }

    async fn tables(database: &Database) -> Vec<String> {
        let rows = database
            .reader()
            .rows(Sql::new(Dialect::Sqlite, list_tables(Dialect::Sqlite)))
            .await
            .unwrap();
        rows.iter().map(|row| row.text(0).unwrap()).collect()
    }

    /// The steps up to now and one more.
    fn and_then(name: &'static str, statements: fn(Dialect) -> Vec<String>) -> Vec<Step> {
        let version = STEPS.len() as i64 + 1;
        let next = Step {
            version,
            name,
            statements,
        };
        STEPS.iter().copied().chain([next]).collect()
    }

    /// A store of the newest version with a setting in it.
    async fn newest_version() -> SeaOrmLocalStore {
        let store = SeaOrmLocalStore::open(OpenOptions::memory()).await.unwrap();
        let mut changes = sync_core::ChangeSet::default();
        changes
            .settings
            .push(("theme".to_owned(), Some("dark".to_owned())));
        store.commit(changes).await.unwrap();
        store
    }

    #[tokio::test]
    async fn an_older_store_is_brought_up_to_date_and_keeps_what_it_holds() {
        let store = newest_version().await;
        let database = &store.shared().database;
        let steps = and_then("notes", second);
        migrate(database, &steps, Neighbours::Refused).await.unwrap();
        let names: Vec<_> = steps
            .iter()
            .map(|step| (step.version, step.name.to_owned()))
            .collect();
        assert_eq!(history(database).await, names);
        let row = Sql::new(
            Dialect::Sqlite,
            "SELECT value, note FROM sync_settings WHERE name = 'theme'",
        );
        let row = database.reader().row(row).await.unwrap().unwrap();
        assert_eq!(
            (row.text(0).unwrap(), row.text(1).unwrap()),
            ("dark".to_owned(), "old".to_owned())
        );
        migrate(database, &steps, Neighbours::Refused).await.unwrap();
        assert_eq!(history(database).await, names, "a second start changes nothing");
        let error = migrate(database, STEPS, Neighbours::Refused).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::NewerSchema,
            "an older program leaves it alone"
        );
    }

    /// Makes a file as a program of this version left it, with two operations of three, and runs more statements.
    async fn file_of_version(options: &OpenOptions, path: &std::path::Path, version: usize) {
        let direct = driver::direct::open(options, driver::direct::Place::File(path.to_owned())).await;
        let database = Database::direct(direct.unwrap());
        migrate(&database, &STEPS[..version], Neighbours::Refused)
            .await
            .unwrap();
        let op = |seq: i64, id: &str, state: &str, next_attempt_at: i64, stamp: &str| {
            format!(
                "INSERT INTO sync_ops (seq, op_id, target_id, id, kind, state, attempts, next_attempt_at, \
                 enqueued_at, schema_version, stamp, changed, payload) VALUES \
                 ({seq}, x'{seq:032}', 1, '{id}', 'create', '{state}', 1, {next_attempt_at}, 5, 1, '{stamp}', \
                 '\"All\"', '{{}}')"
            )
        };
        let record = |id: &str| {
            format!(
                "INSERT INTO sync_records (target_id, id, revision, schema_version, base_kind, mark, touched_at, \
                 view) VALUES (1, '{id}', 1, 1, 0, 0, 5, '{{}}')"
            )
        };
        let statements = [
            "INSERT INTO sync_targets (target_id, collection, scope) VALUES (1, 'todos', 's')".to_owned(),
            record("a"),
            record("b"),
            op(7, "a", "in_doubt", 70, "000000000001-0000-0000000000000001"),
            op(9, "b", "queued", 60, "000000000002-0000-0000000000000001"),
            op(12, "b", "queued", 50, "000000000003-0000-0000000000000001"),
            "DELETE FROM sync_ops WHERE seq = 12".to_owned(),
            "INSERT INTO sync_meta (name, value) VALUES ('clock', '000000000003-0000-0000000000000001')"
                .to_owned(),
        ];
        for text in statements {
            let sql = Sql::new(Dialect::Sqlite, text);
            database.ask_writer(sql).await.unwrap();
        }
        database.close().await;
    }

    #[tokio::test]
    async fn a_file_of_an_older_version_keeps_its_queue_and_its_numbers() {
        for version in 1..STEPS.len() {
            let folder = tempfile::TempDir::new().unwrap();
            let path = folder.path().join("store.db");
            let options = OpenOptions::file(&path);
            file_of_version(&options, &path, version).await;
            let store = SeaOrmLocalStore::open(options).await.unwrap();
            assert_eq!(history(&store.shared().database).await.len(), STEPS.len());
            let ops = store.load_ops(&OpQuery::default()).await.unwrap();
            let places: Vec<_> = ops
                .iter()
                .map(|op| {
                    (
                        op.seq,
                        op.key.id.as_str(),
                        op.state.kind(),
                        op.op_id.as_uuid().as_u128(),
                    )
                })
                .collect();
            let expected = [
                (7, "a", OpStateKind::InDoubt, 0x7),
                (9, "b", OpStateKind::Queued, 0x9),
            ];
            assert_eq!(places, expected, "version {version}");
            let counts = store.count_ops(None).await.unwrap();
            assert_eq!(
                (counts.total(), counts.next_due),
                (2, Some(Timestamp::from_micros(60)))
            );
            assert_eq!(store.load_clock().await.unwrap(), Some(Stamp::new(3, 0, 1)));
            let todos = ops[0].key.target.clone();
            store.commit(queued(&todos, "c")).await.unwrap();
            let ops = store.load_ops(&OpQuery::default()).await.unwrap();
            assert_eq!(ops[2].seq, 13, "12 was given before");
        }
    }

    #[tokio::test]
    async fn a_program_of_an_older_version_cannot_go_on_with_the_queue() {
        let store = newest_version().await;
        for text in ["INSERT INTO sync_ops DEFAULT VALUES", "DELETE FROM sync_ops"] {
            let sql = Sql::new(Dialect::Sqlite, text);
            store.shared().database.ask_writer(sql).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_the_store_as_it_was() {
        let store = newest_version().await;
        let database = &store.shared().database;
        let before = tables(database).await;
        let steps = and_then("broken", failing);
        migrate(database, &steps, Neighbours::Refused).await.unwrap_err();
        assert_eq!(tables(database).await, before);
        assert_eq!(history(database).await.len(), STEPS.len());
        assert_eq!(
            store.load_setting("theme").await.unwrap().as_deref(),
            Some("dark")
        );
        store.commit(sync_core::ChangeSet::default()).await.unwrap();
    }

    #[tokio::test]
    async fn opening_twice_at_once_migrates_once() {
        let folder = tempfile::TempDir::new().unwrap();
        let options = OpenOptions::file(folder.path().join("store.db"));
        let (one, two) = futures::join!(open::open(&options), open::open(&options));
        assert_eq!(history(&one.unwrap().database).await.len(), STEPS.len());
        two.unwrap();
    }
}

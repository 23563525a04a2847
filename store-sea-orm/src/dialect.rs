//! What differs between the databases, in one place.

use sea_orm::DbBackend;

/// The SQL dialect of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
    MySql,
}

impl Dialect {
    /// The dialect of a connection; `None` for a database that this crate does not know.
    pub(crate) fn of(backend: DbBackend) -> Option<Self> {
        match backend {
            DbBackend::Sqlite => Some(Self::Sqlite),
            DbBackend::Postgres => Some(Self::Postgres),
            DbBackend::MySql => Some(Self::MySql),
            _ => None,
        }
    }

    pub(crate) fn backend(self) -> DbBackend {
        match self {
            Self::Sqlite => DbBackend::Sqlite,
            Self::Postgres => DbBackend::Postgres,
            Self::MySql => DbBackend::MySql,
        }
    }

    /// The name for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    /// The operator that is true for equal values and for two nulls.
    pub(crate) fn same(self) -> &'static str {
        match self {
            Self::Sqlite => "IS",
            Self::Postgres => "IS NOT DISTINCT FROM",
            Self::MySql => "<=>",
        }
    }

    /// The function that returns the greater of two values.
    pub(crate) fn greatest(self) -> &'static str {
        match self {
            Self::Sqlite => "MAX",
            Self::Postgres | Self::MySql => "GREATEST",
        }
    }

    /// The name of 64-bit integers in a cast.
    pub(crate) fn integer(self) -> &'static str {
        match self {
            Self::Sqlite | Self::Postgres => "BIGINT",
            Self::MySql => "SIGNED",
        }
    }

    /// What goes between the inserted values and the assignments of an upsert.
    pub(crate) fn on_conflict(self, key: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!(" ON CONFLICT ({key}) DO UPDATE SET "),
            Self::MySql => " ON DUPLICATE KEY UPDATE ".to_owned(),
        }
    }

    /// In the assignments of an upsert: the value that would have been inserted.
    pub(crate) fn inserted(self, column: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("excluded.{column}"),
            Self::MySql => format!("VALUES({column})"),
        }
    }

    /// Whether answers to queries are worked out by the database; otherwise it delivers the rows of the target,
    /// and the reference evaluator picks.
    pub(crate) fn evaluates_queries(self) -> bool {
        self == Self::Sqlite
    }
}

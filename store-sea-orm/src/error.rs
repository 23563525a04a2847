//! From database errors to [`SyncError`]: the kind, and what to do about it.

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};
use sync_core::{ErrorKind, SyncError};

use crate::dialect::Dialect;

/// What the store holds is not what it wrote.
pub(crate) fn corrupt(what: impl Into<String>) -> SyncError {
    let what = what.into();
    SyncError::new(
        ErrorKind::Corrupt,
        format!(
            "the store is damaged: {what}; restore it from a backup, or move the file away and synchronize again"
        ),
    )
}

/// The error of a store that was closed.
pub(crate) fn stopped() -> SyncError {
    SyncError::new(ErrorKind::Stopped, "the store was closed; open it again")
}

/// What a database error means for the caller.
pub(crate) fn from_db(error: &DbErr, dialect: Dialect) -> SyncError {
    let runtime = match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => return stopped(),
        DbErr::ConnectionAcquire(_) => {
            return busy("no connection became free in time").with_adapter(dialect.name());
        }
        DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) => runtime,
        other => return SyncError::new(ErrorKind::Internal, other.to_string()).with_adapter(dialect.name()),
    };
    let converted = match runtime {
        RuntimeErr::SqlxError(sqlx) => from_sqlx(sqlx, dialect),
        other => SyncError::new(ErrorKind::Internal, other.to_string()),
    };
    converted.with_adapter(dialect.name()).with_source(error.clone())
}

/// What an error of SQLite means for the caller.
#[cfg(feature = "rusqlite")]
pub(crate) fn from_rusqlite(error: &rusqlite::Error) -> SyncError {
    let converted = match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let code = failure.extended_code.to_string();
            let message = message.clone().unwrap_or_else(|| failure.to_string());
            from_sqlite_code(&code, &message)
                .unwrap_or_else(|| SyncError::new(ErrorKind::Internal, message))
                .with_code(code)
        }
        // A file name with a NUL, or one that is no UTF-8 where it has to be.
        rusqlite::Error::NulError(_) | rusqlite::Error::InvalidPath(_) => SyncError::new(
            ErrorKind::Configuration,
            format!("{error}; choose another path for the store"),
        ),
        other => SyncError::new(ErrorKind::Internal, other.to_string()),
    };
    converted.with_adapter(Dialect::Sqlite.name())
}

fn from_sqlx(error: &sqlx::Error, dialect: Dialect) -> SyncError {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let known = match dialect {
                Dialect::Sqlite => from_sqlite_code(&code, database.message()),
                Dialect::Postgres => from_sqlstate(&code, database.message()),
                Dialect::MySql => from_mysql(&code, database.message()),
            };
            let error = known.unwrap_or_else(|| SyncError::new(ErrorKind::Internal, database.message()));
            error.with_code(code)
        }
        sqlx::Error::PoolTimedOut => busy("no connection became free in time"),
        sqlx::Error::PoolClosed => stopped(),
        sqlx::Error::Io(io) => SyncError::new(
            ErrorKind::Unreachable,
            format!("the connection to the database was lost: {io}; check that the server runs"),
        ),
        other => SyncError::new(ErrorKind::Internal, other.to_string()),
    }
}

fn busy(what: &str) -> SyncError {
    SyncError::new(
        ErrorKind::Busy,
        format!("{what}: another program writes to the store; try again, or give it a longer busy timeout"),
    )
}

fn full(what: &str) -> SyncError {
    SyncError::new(
        ErrorKind::Full,
        format!("{what}; nothing was written, free some space and try again"),
    )
}

fn read_only(what: &str) -> SyncError {
    SyncError::new(
        ErrorKind::ReadOnly,
        format!(
            "{what}; nothing was written, make the file and its folder writable and open the store for writing"
        ),
    )
}

/// The result codes of SQLite; the low byte is the primary code.
fn from_sqlite_code(code: &str, message: &str) -> Option<SyncError> {
    let number: i32 = code.parse().ok()?;
    Some(match number & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED
        5 | 6 => busy(message),
        // SQLITE_READONLY
        8 => read_only(message),
        // SQLITE_IOERR: the device failed; whether it is for good is not known.
        10 => SyncError::new(
            ErrorKind::Full,
            format!("{message}: the device refused to read or write; nothing was written, check the disk"),
        ),
        // SQLITE_CORRUPT, SQLITE_NOTADB
        11 => corrupt(message),
        26 => SyncError::new(
            ErrorKind::Corrupt,
            format!(
                "{message}: the file is not a store of ours, or its beginning is damaged; choose another path"
            ),
        ),
        // SQLITE_FULL
        13 => full(message),
        // SQLITE_CANTOPEN
        14 => SyncError::new(
            ErrorKind::Configuration,
            format!("{message}: check that the folder exists and may be read and written"),
        ),
        // SQLITE_TOOBIG
        18 => SyncError::new(ErrorKind::TooLarge, message),
        // SQLITE_CONSTRAINT
        19 => SyncError::new(ErrorKind::Invalid, message),
        _ => return None,
    })
}

fn from_sqlstate(code: &str, message: &str) -> Option<SyncError> {
    Some(match code {
        "53100" | "53200" | "54000" => full(message),
        "25006" => read_only(message),
        "40001" | "40P01" | "55P03" | "53300" | "57014" => busy(message),
        "XX001" | "XX002" => corrupt(message),
        // A NUL in a text.
        "22021" | "22P05" => SyncError::invalid("text", message),
        _ if code.starts_with("23") => SyncError::new(ErrorKind::Invalid, message),
        _ if code.starts_with("08") || code.starts_with("57P") => {
            SyncError::new(ErrorKind::Unreachable, message)
        }
        _ if code.starts_with("28") => SyncError::new(ErrorKind::Configuration, message),
        _ => return None,
    })
}

/// MySQL tells an SQLSTATE only, so the kinds that share one are told apart by their text.
fn from_mysql(code: &str, message: &str) -> Option<SyncError> {
    let lower = message.to_ascii_lowercase();
    Some(match code {
        "40001" => busy(message),
        _ if lower.contains("lock wait timeout") => busy(message),
        _ if lower.contains("is full") || lower.contains("disk full") => full(message),
        _ if lower.contains("read-only") || lower.contains("read only") => read_only(message),
        "23000" => SyncError::new(ErrorKind::Invalid, message),
        "28000" => SyncError::new(ErrorKind::Configuration, message),
        _ if code.starts_with("08") => SyncError::new(ErrorKind::Unreachable, message),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_count_as_their_primary_code() {
        for (code, kind) in [
            ("5", ErrorKind::Busy),
            ("517", ErrorKind::Busy),
            ("261", ErrorKind::Busy),
            ("1032", ErrorKind::ReadOnly),
            ("13", ErrorKind::Full),
            ("267", ErrorKind::Corrupt),
            ("26", ErrorKind::Corrupt),
            ("2067", ErrorKind::Invalid),
        ] {
            assert_eq!(
                from_sqlite_code(code, "m").map(|error| error.kind()),
                Some(kind),
                "{code}"
            );
        }
        assert!(from_sqlite_code("1", "m").is_none());
    }

    #[test]
    fn server_errors_are_told_apart() {
        let kind = |error: Option<SyncError>| error.map(|error| error.kind());
        assert_eq!(kind(from_sqlstate("25006", "m")), Some(ErrorKind::ReadOnly));
        assert_eq!(kind(from_sqlstate("23505", "m")), Some(ErrorKind::Invalid));
        assert_eq!(
            kind(from_mysql("HY000", "Lock wait timeout exceeded")),
            Some(ErrorKind::Busy)
        );
        assert_eq!(
            kind(from_mysql("HY000", "The table 'x' is full")),
            Some(ErrorKind::Full)
        );
    }
}

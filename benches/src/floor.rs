//! The floor: what raw SQLite needs for the same effect, through the thinnest driver, with prepared statements.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use store_sea_orm::Durability;

use crate::records::Note;

/// A plain table of records, a plain queue, a plain sync point.
#[derive(Debug)]
pub struct Floor(Connection);

impl Floor {
    /// A new database file with the same settings as the store's.
    pub fn open(path: &Path, durability: Durability) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        let synchronous = if durability == Durability::Full {
            "FULL"
        } else {
            "NORMAL"
        };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -16384;
             PRAGMA temp_store = MEMORY;
             CREATE TABLE record (rowid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
                                  version INTEGER NOT NULL) STRICT;
             CREATE INDEX record_owner ON record (body ->> 'owner');
             CREATE TABLE queue (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
             CREATE TABLE point (one INTEGER PRIMARY KEY, at TEXT NOT NULL) STRICT;"
        ))?;
        Ok(Self(connection))
    }

    /// A record and its queue entry, in one transaction.
    pub fn create(&mut self, note: &Note) -> rusqlite::Result<()> {
        let body = serde_json::to_string(note).unwrap_or_default();
        let transaction = self
            .0
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached("INSERT INTO record (id, body, version) VALUES (?, ?, 0)")?
            .execute(params![note.id, body])?;
        transaction
            .prepare_cached("INSERT INTO queue (id, body) VALUES (?, ?)")?
            .execute(params![note.id, body])?;
        transaction.commit()
    }

    /// A page of records and the sync point, in one transaction.
    pub fn apply_page(&mut self, page: &[Note], point: &str) -> rusqlite::Result<()> {
        let transaction = self
            .0
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut upsert = transaction.prepare_cached(
                "INSERT INTO record (id, body, version) VALUES (?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET body = excluded.body, version = excluded.version",
            )?;
            for (number, note) in page.iter().enumerate() {
                let body = serde_json::to_string(note).unwrap_or_default();
                upsert.execute(params![note.id, body, i64::try_from(number).unwrap_or_default()])?;
            }
            transaction
                .prepare_cached("INSERT OR REPLACE INTO point (one, at) VALUES (1, ?)")?
                .execute(params![point])?;
        }
        transaction.commit()
    }

    /// One decoded record.
    pub fn get(&self, id: &str) -> rusqlite::Result<Option<Note>> {
        let body: Option<String> = self
            .0
            .prepare_cached("SELECT body FROM record WHERE id = ?")?
            .query_row(params![id], |row| row.get(0))
            .optional()?;
        Ok(body.and_then(|body| serde_json::from_str(&body).ok()))
    }

    /// The first 50 open notes of one owner, decoded.
    pub fn query(&self, owner: &str) -> rusqlite::Result<Vec<Note>> {
        let mut statement = self.0.prepare_cached(
            "SELECT body FROM record WHERE body ->> 'owner' = ? AND body ->> 'done' = 0 ORDER BY id LIMIT 50",
        )?;
        let rows = statement.query_map(params![owner], |row| row.get::<_, String>(0))?;
        rows.map(|body| body.map(|body| serde_json::from_str(&body).ok()))
            .filter_map(Result::transpose)
            .collect()
    }

    /// Reads the queue in batches, and deletes each batch as if it had been acknowledged.
    pub fn drain(&mut self, batch: usize) -> rusqlite::Result<u64> {
        let mut drained = 0;
        loop {
            let transaction = self
                .0
                .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let read: Vec<(i64, String, String)> = transaction
                .prepare_cached("SELECT seq, id, body FROM queue ORDER BY seq LIMIT ?")?
                .query_map(params![i64::try_from(batch).unwrap_or(i64::MAX)], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let Some((last, ..)) = read.last() else {
                return Ok(drained);
            };
            transaction
                .prepare_cached("DELETE FROM queue WHERE seq <= ?")?
                .execute(params![last])?;
            let mut update =
                transaction.prepare_cached("UPDATE record SET version = version + 1 WHERE id = ?")?;
            for (_, id, _) in &read {
                update.execute(params![id])?;
            }
            drop(update);
            transaction.commit()?;
            drained += read.len() as u64;
        }
    }
}

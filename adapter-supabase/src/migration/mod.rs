//! The change feed as a migration: SQL for a Supabase project that makes synchronization exact.
//!
//! The feed lives in a schema of its own, `sync`, beside the tables of the application, to which it adds no column:
//! statement-level triggers note each change in an index, in the order of commits, and functions in `public` answer
//! pulls and pushes under the row-level security of the application. [`FeedMigration::to_sql`] writes all of it
//! as plain SQL for `supabase/migrations`. Running it again changes nothing; running a newer one upgrades.
//!
//! ```
//! use adapter_supabase::migration::{FeedMigration, FeedTable, ScopeRule};
//! let sql = FeedMigration::new()
//!     .table(
//!         FeedTable::new("todos", ScopeRule::key("project", "id", "project_id"))
//!             .columns(["project_id", "title", "done"])
//!             .read_only(["updated_at"]),
//!     )
//!     .to_sql()?;
//! assert!(sql.contains("create schema if not exists sync"));
//! # Ok::<(), sync_core::SyncError>(())
//! ```

mod names;
mod table;

use sync_core::{Result, SyncError};

pub use table::{FeedTable, ScopeRule};

/// The parts of the feed that no choice of the user changes, in their order.
const CORE: [&str; 6] = [
    include_str!("../../migrations/01_tables.sql"),
    include_str!("../../migrations/02_access.sql"),
    include_str!("../../migrations/03_capture.sql"),
    include_str!("../../migrations/04_pull.sql"),
    include_str!("../../migrations/05_push.sql"),
    include_str!("../../migrations/06_api.sql"),
];

/// The SQL that takes the feed out again. The tables of the application stay as they are.
pub const UNINSTALL: &str = include_str!("../../migrations/uninstall.sql");

/// Writes the migration for one project.
#[derive(Clone, Debug, Default)]
pub struct FeedMigration {
    tables: Vec<FeedTable>,
    membership: Option<String>,
}

impl FeedMigration {
    /// A migration without tables; membership is what the table `sync.member` says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a table.
    pub fn table(mut self, table: FeedTable) -> Self {
        self.tables.push(table);
        self
    }

    /// Takes membership from a query instead of the table `sync.member`. It gives the columns `scope text`, `user_id
    /// text` and `can_write boolean`, and is taken over as it is. It should be fast when narrowed to one user, and
    /// to one user and scope: every call asks it.
    pub fn membership(mut self, query: impl Into<String>) -> Self {
        self.membership = Some(query.into());
        self
    }

    /// The whole migration, as one idempotent piece of SQL for PostgreSQL 15 or newer.
    ///
    /// # Errors
    /// `Invalid` naming the field that is wrong, as [`FeedTable::to_sql`]; also if a collection is given twice.
    pub fn to_sql(&self) -> Result<String> {
        let mut sql = CORE.join("\n");
        if let Some(query) = &self.membership {
            let query = query.trim().trim_end_matches(';');
            if query.is_empty() {
                return Err(SyncError::invalid("membership", "the query is empty"));
            }
            sql.push_str(&format!(
                "\n-- Membership, by the project's own tables.\n\
                 create or replace view sync.access as\n\
                 select q.scope::text collate \"C\" as scope, q.user_id::text as user_id, q.can_write::boolean as can_write\n\
                 from (\n{query}\n) q;\n"
            ));
        }
        for (place, table) in self.tables.iter().enumerate() {
            if self.tables[..place]
                .iter()
                .any(|other| other.collection() == table.collection())
            {
                let message = format!("the collection {:?} is given twice", table.collection());
                return Err(SyncError::invalid("collection", message));
            }
            sql.push('\n');
            sql.push_str(&table.to_sql()?);
        }
        Ok(sql)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_given_twice_is_refused() {
        let table = FeedTable::new("todo", ScopeRule::column("scope"));
        let twice = FeedMigration::new().table(table.clone()).table(table).to_sql();
        assert_eq!(twice.unwrap_err().field(), Some("collection"));
    }

    #[test]
    fn the_membership_query_replaces_the_view() {
        let sql = FeedMigration::new().membership("select 1;").to_sql().unwrap();
        assert!(sql.ends_with("from (\nselect 1\n) q;\n"), "{sql}");
    }
}

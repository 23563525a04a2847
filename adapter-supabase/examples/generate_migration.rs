//! Writes the change feed's migration for a small project to the standard output.
//!
//! `cargo run -p adapter-supabase --example generate_migration > supabase/migrations/20260101000000_sync_feed.sql`

use std::io::Write;

use adapter_supabase::migration::{FeedMigration, FeedTable, ScopeRule};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let in_project = || ScopeRule::key("project", "id", "project_id");
    let sql = FeedMigration::new()
        // Who may synchronize which scope; here the project has a membership table of its own.
        .membership(
            "select 'project?id=' || m.project_id as scope, m.user_id::text as user_id, m.role <> 'viewer' as can_write
             from public.project_members m",
        )
        .table(
            FeedTable::new("todos", in_project())
                .columns(["project_id", "title", "done"])
                .read_only(["updated_at"]),
        )
        .table(FeedTable::new("comments", in_project()).columns(["project_id", "todo_id", "text"]))
        .to_sql()?;
    std::io::stdout().write_all(sql.as_bytes())?;
    Ok(())
}

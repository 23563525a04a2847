//! The testkit's conformance suite of remotes, in table mode.

use std::sync::Arc;

use adapter_supabase::{Mode, SupabaseTable};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use supabase_stack::PostgresVersion;
use sync_core::{Payload, RecordKey, RemoteStore, Target};
use sync_testkit::{certificate, remote_suite::RemoteFixture};

use super::project::Project;

on_each_postgres!(
    tables_as_they_are_conform,
    tables_that_mark_what_is_deleted_conform
);

struct Tables {
    project: Project,
    adjust: fn(SupabaseTable) -> SupabaseTable,
}

#[async_trait]
impl RemoteFixture for Tables {
    async fn fresh(&self) -> Arc<dyn RemoteStore> {
        self.project.sql("truncate public.todos, public.notes").await;
        let remote = self
            .project
            .connect_with(self.project.config(), self.adjust)
            .await;
        assert_eq!(remote.mode(), Mode::Table);
        Arc::new(remote)
    }

    async fn delete_without_trace(&self, _: &dyn RemoteStore, key: &RecordKey) -> bool {
        let sql = format!(
            "delete from public.{} where owner = $1 and id = $2",
            key.target.collection
        );
        let deleted = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(key.scope().value("user").unwrap())
            .bind(key.id.as_str())
            .execute(self.project.stack.pool())
            .await
            .unwrap();
        deleted.rows_affected() > 0
    }

    async fn restore_backup(&self, _: &dyn RemoteStore) -> bool {
        self.project.sql("truncate public.todos, public.notes").await;
        true
    }

    async fn expire_sign_in(&self, _: &dyn RemoteStore) -> bool {
        let hours = std::time::Duration::from_secs(2 * 3_600);
        self.project.stack.auth().advance_clock(hours);
        true
    }

    async fn begin_late_write(
        &self,
        _: &dyn RemoteStore,
        key: &RecordKey,
        record: Payload,
    ) -> Option<BoxFuture<'static, ()>> {
        let mut transaction = self.project.stack.pool().begin().await.unwrap();
        let sql = format!(
            "insert into public.{0} (owner, id, title, done, count, note)
             select $1, $2, title, done, count, note from jsonb_populate_record(null::public.{0}, $3::jsonb)",
            key.target.collection
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(key.scope().value("user").unwrap().to_owned())
            .bind(key.id.as_str().to_owned())
            .bind(record.as_str().to_owned())
            .execute(&mut *transaction)
            .await
            .unwrap();
        Some(async move { transaction.commit().await.unwrap() }.boxed())
    }

    async fn plant_malformed_row(&self, _: &dyn RemoteStore, target: &Target) -> bool {
        // An empty text is no id.
        let sql = format!(
            "insert into public.{} (owner, id) values ('{}', '')",
            target.collection,
            target.scope.value("user").unwrap()
        );
        self.project.sql(&sql).await;
        true
    }
}

async fn fixture(
    postgres: PostgresVersion,
    statements: &[&str],
    adjust: fn(SupabaseTable) -> SupabaseTable,
) -> Option<Tables> {
    let project = Project::on(postgres, statements).await?;
    Some(Tables { project, adjust })
}

async fn tables_as_they_are_conform(postgres: PostgresVersion) {
    let Some(fixture) = fixture(postgres, &[], |table| table).await else {
        return;
    };
    let certificate = certificate::of_remote(&fixture).await;
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/proof/certificates");
    certificate.assert_written_at(format!("{book}/supabase-table.md"));
    fixture.project.stack.stop().await;
}

async fn tables_that_mark_what_is_deleted_conform(postgres: PostgresVersion) {
    let marks = "alter table public.todos add column deleted_at timestamptz;
                 alter table public.notes add column deleted_at timestamptz";
    let Some(fixture) = fixture(postgres, &[marks], |table| table.with_soft_delete("deleted_at")).await
    else {
        return;
    };
    certificate::of_remote(&fixture).await.assert_passed();
    fixture.project.stack.stop().await;
}

//! The testkit's suite of remotes in feed mode, on both servers, and the certificate.

use std::sync::Arc;

use adapter_supabase::{
    ApiKey, ColumnKind, SupabaseConfig, SupabaseRemoteStore, SupabaseTable,
    migration::{FeedMigration, FeedTable, ScopeRule},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use sqlx::AssertSqlSafe;
use supabase_stack::{PostgresVersion, Stack};
use sync_core::{CollectionName, Effects, Payload, RecordKey, RemoteStore, SyncScope, Target};
use sync_http::{Credentials, FixedToken};
use sync_testkit::{certificate, remote_suite::RemoteFixture};

use super::world::PASSWORD;

/// One for each user: the id of a row is unique in its table, and the suite uses the same in both scopes.
const COLLECTIONS: [&str; 4] = ["todos_ada", "todos_bob", "notes_ada", "notes_bob"];

struct Fixture {
    stack: Stack,
    user: String,
}

impl Fixture {
    async fn start(version: PostgresVersion) -> Option<Self> {
        let mut tables = String::new();
        let mut policies = String::new();
        let mut migration = FeedMigration::new();
        for name in COLLECTIONS {
            tables += &format!(
                "create table public.{name} (
                   id text primary key, scope text not null, title text, done boolean, count bigint, note text);
                 alter table public.{name} enable row level security;"
            );
            policies += &format!(
                "create policy members on public.{name} for all to authenticated
                   using (scope in (select sync.my_scopes())) with check (scope in (select sync.my_scopes(true)));"
            );
            let columns = ["title", "done", "count", "note"];
            migration = migration.table(FeedTable::new(name, ScopeRule::column("scope")).columns(columns));
        }
        let migration = migration.to_sql().unwrap();
        let stack = Stack::for_tests(version, &[&tables, &migration, &policies]).await?;
        let user = stack.add_user("ada@example.com", PASSWORD).await.unwrap();
        Some(Self { stack, user })
    }

    async fn sql(&self, statements: &str) {
        self.stack.run_sql(statements).await.unwrap();
    }

    /// As a new project has it: no rows, and nothing known of any that were.
    async fn empty(&self) {
        for name in COLLECTIONS {
            self.sql(&format!("delete from public.{name}")).await;
        }
        self.sql("delete from sync.change; delete from sync.scope; delete from sync.applied")
            .await;
    }
}

#[async_trait]
impl RemoteFixture for Fixture {
    async fn fresh(&self) -> Arc<dyn RemoteStore> {
        self.empty().await;
        let user = &self.user;
        for name in ["ada", "bob"] {
            let scope = self.target("todos", name).scope.key().to_string();
            self.sql(&format!(
                "insert into sync.member values ('{scope}', '{user}', true) on conflict do nothing"
            ))
            .await;
        }
        let token = Credentials::from_jwt(self.stack.access_token(user));
        let key = ApiKey::new(self.stack.publishable_key());
        let mut config = SupabaseConfig::new(&self.stack.url(), key, Effects::tokio())
            .unwrap()
            .signed_in(Arc::new(FixedToken::new(token)));
        for name in COLLECTIONS {
            let table = SupabaseTable::new(name)
                .with_scope_column("scope")
                .with_column("id", ColumnKind::Text)
                .with_column("title", ColumnKind::Text)
                .with_column("done", ColumnKind::Boolean)
                .with_column("count", ColumnKind::Integer)
                .with_column("note", ColumnKind::Text);
            config = config.with_collection(table).unwrap();
        }
        Arc::new(SupabaseRemoteStore::connect(config).await.unwrap())
    }

    fn target(&self, collection: &str, user: &str) -> Target {
        let collection = CollectionName::new(format!("{collection}_{user}")).unwrap();
        Target::new(
            collection,
            SyncScope::new("conformance").unwrap().with("user", user).unwrap(),
        )
    }

    async fn delete_without_trace(&self, _: &dyn RemoteStore, key: &RecordKey) -> bool {
        let sql = format!("delete from public.{} where id = $1", key.target.collection);
        let deleted = sqlx::query(AssertSqlSafe(sql))
            .bind(key.id.as_str())
            .execute(self.stack.pool())
            .await
            .unwrap();
        deleted.rows_affected() == 1
    }

    async fn restore_backup(&self, _: &dyn RemoteStore) -> bool {
        self.empty().await;
        // What was restored was made in another timeline.
        self.sql("update sync.meta set fingerprint = 'of the server that made the backup'")
            .await;
        true
    }

    async fn expire_sign_in(&self, _: &dyn RemoteStore) -> bool {
        self.stack
            .auth()
            .advance_clock(std::time::Duration::from_secs(2 * 3_600));
        true
    }

    async fn begin_late_write(
        &self,
        _: &dyn RemoteStore,
        key: &RecordKey,
        record: Payload,
    ) -> Option<BoxFuture<'static, ()>> {
        let mut transaction = self.stack.pool().begin().await.unwrap();
        // The transaction's time is taken here.
        sqlx::query("select now()")
            .execute(&mut *transaction)
            .await
            .unwrap();
        let table = key.target.collection.to_string();
        let (id, scope) = (key.id.to_string(), key.scope().key().to_string());
        Some(Box::pin(async move {
            let sql = format!(
                "insert into public.{table} select (jsonb_populate_record(null::public.{table},
                   $1::jsonb || jsonb_build_object('id', $2::text, 'scope', $3::text))).*"
            );
            sqlx::query(AssertSqlSafe(sql))
                .bind(record.as_str())
                .bind(id)
                .bind(scope)
                .execute(&mut *transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
        }))
    }

    async fn plant_malformed_row(&self, _: &dyn RemoteStore, target: &Target) -> bool {
        // No record has an empty id.
        let sql = format!(
            "insert into public.{} (id, scope) values ('', $1)",
            target.collection
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(target.scope.key().as_str())
            .execute(self.stack.pool())
            .await
            .unwrap();
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_on_postgres_15_conforms() {
    let Some(fixture) = Fixture::start(PostgresVersion::V15).await else {
        return;
    };
    let certificate = certificate::of_remote(&fixture).await;
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/proof/certificates");
    certificate.assert_written_at(format!("{book}/supabase-feed.md"));
    fixture.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_on_postgres_17_conforms() {
    let Some(fixture) = Fixture::start(PostgresVersion::V17).await else {
        return;
    };
    certificate::of_remote(&fixture).await.assert_passed();
    fixture.stack.stop().await;
}

//! A table with a column of every kind, and what the reference evaluator says of its rows.

use std::sync::Arc;

use adapter_supabase::{ApiKey, ColumnKind, SupabaseConfig, SupabaseRemoteStore, SupabaseTable};
use serde_json::Value;
use supabase_stack::{PostgresVersion, Stack};
use sync_core::{
    CollectionName, Effects, Payload, RecordId, RemoteState, RemoteStore, RemoteStoreExt, SyncScope, Target,
    query::{QuerySpec, evaluate},
};
use sync_http::{Credentials, FixedToken};

use crate::table::project::Project;

pub(super) struct Samples {
    pub(super) project: Project,
    pub(super) remote: SupabaseRemoteStore,
    rows: Vec<(RecordId, Payload)>,
}

impl Samples {
    pub(super) async fn start(postgres: PostgresVersion, rows: &[Value]) -> Option<Self> {
        let stack = Stack::for_tests(postgres, &[include_str!("samples.sql")]).await?;
        let user = stack
            .add_user("ada@example.com", "a long password")
            .await
            .unwrap();
        let project = Project { stack, user };
        sqlx::query(
            "insert into public.samples select * from jsonb_populate_recordset(null::public.samples, $1)",
        )
        .bind(Value::from(rows.to_vec()))
        .execute(project.stack.pool())
        .await
        .unwrap();
        let token = Credentials::from_jwt(project.stack.access_token(&project.user));
        let key = ApiKey::new(project.stack.publishable_key());
        let table = SupabaseTable::new("samples")
            .with_scope_key("user", "owner")
            .with_column("id", ColumnKind::Uuid)
            .with_column("title", ColumnKind::Text)
            .with_column("n", ColumnKind::Integer)
            .with_column("rate", ColumnKind::Float)
            .with_column("price", ColumnKind::Decimal)
            .with_column("done", ColumnKind::Boolean)
            .with_column("due", ColumnKind::Time)
            .with_column("tags", ColumnKind::TextList)
            .with_column("data", ColumnKind::Json);
        let config = SupabaseConfig::new(&project.stack.url(), key, Effects::tokio())
            .unwrap()
            .signed_in(Arc::new(FixedToken::new(token)))
            .with_collection(table)
            .unwrap();
        let remote = SupabaseRemoteStore::connect(config).await.unwrap();
        let mut samples = Self {
            project,
            remote,
            rows: Vec::new(),
        };
        let pages = samples
            .remote
            .pull_all(&samples.target(), None, 500)
            .await
            .unwrap();
        for change in pages.into_iter().flat_map(|page| page.changes) {
            if let RemoteState::Live(live) = change.state {
                samples.rows.push((change.id, live.record));
            }
        }
        assert_eq!(samples.rows.len(), rows.len());
        Some(samples)
    }

    pub(super) fn target(&self) -> Target {
        let scope = SyncScope::new("samples").unwrap().with("user", "ada").unwrap();
        Target::new(CollectionName::new("samples").unwrap(), scope)
    }

    pub(super) fn ids(&self) -> Vec<RecordId> {
        self.rows.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Fails unless the remote finds what the evaluator finds, in its order.
    pub(super) async fn ensure_same(&self, spec: &QuerySpec, what: &str) {
        let expected = evaluate(spec, self.rows.clone()).unwrap();
        let found = self.remote.search(&self.target(), spec).await;
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}\n{spec:?}"));
        let found: Vec<_> = found
            .hits
            .into_iter()
            .map(|(id, live)| (id, live.record))
            .collect();
        assert_eq!(found, expected, "{what}\n{spec:?}");
    }

    pub(super) async fn stop(self) {
        self.project.stack.stop().await;
    }
}

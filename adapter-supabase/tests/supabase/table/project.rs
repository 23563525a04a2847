//! A project with tables alone, and someone signed in.

use std::sync::Arc;

use adapter_supabase::{ApiKey, ColumnKind, SupabaseConfig, SupabaseRemoteStore, SupabaseTable};
use serde_json::Value;
use sqlx::Executor;
use supabase_stack::{PostgresVersion, Stack, deviations::MEND_OF_TIMES};
use sync_core::{
    ChangedFields, CollectionName, Effects, OpKind, Payload, PushOp, PushOutcome, RecordId, RecordKey,
    RemoteStoreExt, RemoteVersion, Stamp, SyncScope, Target,
};
use sync_http::{Credentials, FixedToken};

pub(crate) const SQL: &str = include_str!("project.sql");

/// The project of the suite: tables `todos` and `notes`, whose scopes are told apart by `owner`.
pub(crate) struct Project {
    pub(crate) stack: Stack,
    pub(crate) user: String,
}

impl Project {
    pub(crate) async fn on(postgres: PostgresVersion, statements: &[&str]) -> Option<Self> {
        let project = [SQL, MEND_OF_TIMES].into_iter();
        let all: Vec<&str> = project.chain(statements.iter().copied()).collect();
        let stack = Stack::for_tests(postgres, &all).await?;
        let user = stack
            .add_user("ada@example.com", "a long password")
            .await
            .unwrap();
        Some(Self { stack, user })
    }

    pub(crate) fn config(&self) -> SupabaseConfig {
        let token = Credentials::from_jwt(self.stack.access_token(&self.user));
        let key = ApiKey::new(self.stack.publishable_key());
        SupabaseConfig::new(&self.stack.url(), key, Effects::tokio())
            .unwrap()
            .signed_in(Arc::new(FixedToken::new(token)))
    }

    /// Someone who sees both tables.
    pub(crate) async fn connect(&self) -> SupabaseRemoteStore {
        self.connect_with(self.config(), |table| table).await
    }

    pub(crate) async fn connect_with(
        &self,
        config: SupabaseConfig,
        adjust: fn(SupabaseTable) -> SupabaseTable,
    ) -> SupabaseRemoteStore {
        let config = ["todos", "notes"].into_iter().fold(config, |config, name| {
            config.with_collection(adjust(table(name))).unwrap()
        });
        SupabaseRemoteStore::connect(config).await.unwrap()
    }

    pub(crate) async fn sql(&self, statements: &str) {
        self.stack
            .pool()
            .execute(sqlx::AssertSqlSafe(statements.to_owned()))
            .await
            .unwrap();
    }
}

pub(crate) fn table(name: &str) -> SupabaseTable {
    SupabaseTable::new(name)
        .with_scope_key("user", "owner")
        .with_column("title", ColumnKind::Text)
        .with_column("done", ColumnKind::Boolean)
        .with_column("count", ColumnKind::Integer)
        .with_column("note", ColumnKind::Text)
}

pub(crate) fn scope() -> SyncScope {
    SyncScope::new("conformance")
        .unwrap()
        .with("user", "ada")
        .unwrap()
}

pub(crate) fn todos() -> Target {
    Target::new(CollectionName::new("todos").unwrap(), scope())
}

pub(crate) fn key(id: &str) -> RecordKey {
    RecordKey::new(todos(), RecordId::new(id).unwrap())
}

pub(crate) fn op(id: &str, kind: OpKind, record: Option<Value>, base: Option<&RemoteVersion>) -> PushOp {
    PushOp {
        op_id: Effects::tokio().new_op_id(),
        key: key(id),
        kind,
        payload: record.map(|record| Payload::parse(record.to_string()).unwrap()),
        changed: ChangedFields::All,
        base: base.cloned(),
        stamp: Stamp::new(1, 0, 1),
        schema_version: 1,
    }
}

/// Sends one operation.
pub(crate) async fn push(remote: &SupabaseRemoteStore, op: PushOp) -> PushOutcome {
    let mut outcomes = remote.push_ops(&scope(), vec![op]).await.unwrap();
    outcomes.pop().unwrap()
}

/// The version that an operation made.
pub(crate) fn version(outcome: &PushOutcome) -> RemoteVersion {
    match outcome {
        PushOutcome::Applied { version, .. } => version.clone(),
        other => panic!("{other:?}"),
    }
}

//! Against a project of the user's own: `cargo test -p adapter-supabase --features live live::`.
//!
//! The project has the feed. The environment says where it is and what to write:
//!
//! | variable | what |
//! |---|---|
//! | `SUPABASE_URL`, `SUPABASE_KEY` | the project and its publishable key |
//! | `SUPABASE_EMAIL`, `SUPABASE_PASSWORD` | a user who may write the scope |
//! | `SUPABASE_SCOPE` | the text of a scope key, such as `project?id=p1` |
//! | `SUPABASE_COLLECTION` | a collection of the feed whose ids are uuids |
//! | `SUPABASE_ROW` | a JSON object with the columns that a new row needs, without its id |
//! | `SUPABASE_FIELD` | a text column of it that can be changed |
//!
//! Each test makes rows of its own and deletes them. Without a variable it fails and names it.

use std::sync::Arc;

use adapter_supabase::{ApiKey, Mode, SupabaseAuth, SupabaseConfig, SupabaseRemoteStore};
use serde_json::{Value, json};
use sync_core::{
    ChangedFields, CollectionName, Effects, ErrorKind, OpId, OpKind, Payload, PullRequest, PushBatch, PushOp,
    PushOutcome, RecordId, RecordKey, RemoteState, RemoteStore, RemoteStoreExt, RemoteVersion, ScopeKey,
    Stamp, SyncPoint, Target, TokioTimer,
};
use sync_http::{MemoryCredentialStore, ReqwestTransport, Secret, Session, Transport};

struct Project {
    remote: SupabaseRemoteStore,
    session: Session,
    target: Target,
    row: Value,
    field: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; see tests/supabase/live.rs"))
}

fn transport() -> Arc<dyn Transport> {
    Arc::new(ReqwestTransport::new(Arc::new(TokioTimer)).unwrap())
}

fn config(effects: &Effects) -> SupabaseConfig {
    let key = ApiKey::new(variable("SUPABASE_KEY"));
    SupabaseConfig::new(&variable("SUPABASE_URL"), key, effects.clone()).unwrap()
}

impl Project {
    async fn connect() -> Self {
        let effects = Effects::tokio();
        let key = ApiKey::new(variable("SUPABASE_KEY"));
        let auth = SupabaseAuth::new(&variable("SUPABASE_URL"), key, transport(), &effects).unwrap();
        let session = auth.session(Arc::new(MemoryCredentialStore::default()), effects.clone());
        let password = Secret::new(variable("SUPABASE_PASSWORD"));
        let credentials = auth
            .sign_in(&variable("SUPABASE_EMAIL"), &password)
            .await
            .unwrap();
        session.sign_in(credentials).await.unwrap();
        let config = config(&effects)
            .signed_in(Arc::new(session.clone()))
            .require(Mode::Feed);
        let scope = ScopeKey::parse(&variable("SUPABASE_SCOPE")).unwrap();
        Self {
            remote: SupabaseRemoteStore::connect(config).await.unwrap(),
            session,
            target: Target::new(
                CollectionName::new(variable("SUPABASE_COLLECTION")).unwrap(),
                scope,
            ),
            row: serde_json::from_str(&variable("SUPABASE_ROW")).unwrap(),
            field: variable("SUPABASE_FIELD"),
        }
    }

    fn op(&self, kind: OpKind, id: &RecordId, base: Option<RemoteVersion>, text: &str) -> PushOp {
        let mut row = self.row.clone();
        row["id"] = json!(id.as_str());
        row[&self.field] = json!(text);
        PushOp {
            op_id: OpId::from_uuid(uuid::Uuid::now_v7()),
            key: RecordKey::new(self.target.clone(), id.clone()),
            kind,
            payload: (kind != OpKind::Delete).then(|| Payload::parse(row.to_string()).unwrap()),
            changed: ChangedFields::All,
            base,
            stamp: Stamp::new(1_700_000_000_000, 0, 1),
            schema_version: 1,
        }
    }

    async fn push(&self, op: &PushOp) -> PushOutcome {
        let batch = PushBatch {
            scope: self.target.scope.clone(),
            ops: vec![op.clone()],
            atomic: false,
        };
        self.remote.push(batch).await.unwrap().remove(0)
    }

    async fn apply(&self, op: &PushOp) -> RemoteVersion {
        match self.push(op).await {
            PushOutcome::Applied { version, .. } => version,
            other => panic!("{other:?}"),
        }
    }

    /// What was changed since, and where it ended.
    async fn changes(&self, since: Option<SyncPoint>) -> (Vec<(RecordId, RemoteState)>, SyncPoint) {
        let pages = self.remote.pull_all(&self.target, since, 100).await.unwrap();
        let next = pages.last().unwrap().next.clone();
        let changes = pages.into_iter().flat_map(|page| page.changes);
        (changes.map(|change| (change.id, change.state)).collect(), next)
    }
}

fn new_id() -> RecordId {
    RecordId::new(uuid::Uuid::now_v7().to_string()).unwrap()
}

/// Cases 1, 2, 4, 6, 7, 8 and 15.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_lives_and_dies() {
    let project = Project::connect().await;
    let id = new_id();
    let (_, start) = project.changes(None).await;
    let create = project.op(OpKind::Create, &id, None, "first");
    let first = project.apply(&create).await;
    assert_eq!(
        project.push(&create).await,
        PushOutcome::Duplicate {
            version: Some(first.clone())
        }
    );
    let (changes, after) = project.changes(Some(start)).await;
    let seen = changes.iter().find(|(changed, _)| *changed == id).unwrap();
    assert_eq!(seen.1.version(), Some(&first));
    let second = project
        .apply(&project.op(OpKind::Update, &id, Some(first.clone()), "second"))
        .await;
    let stale = project
        .push(&project.op(OpKind::Update, &id, Some(first), "stale"))
        .await;
    assert!(
        matches!(&stale, PushOutcome::Conflict { current } if current.version() == Some(&second)),
        "{stale:?}"
    );
    let gone = project
        .apply(&project.op(OpKind::Delete, &id, Some(second), ""))
        .await;
    let (changes, after) = project.changes(Some(after)).await;
    assert!(
        changes
            .iter()
            .any(|(changed, state)| *changed == id && matches!(state, RemoteState::Deleted(_)))
    );
    let again = project
        .apply(&project.op(OpKind::Create, &id, Some(gone.clone()), "again"))
        .await;
    assert!(gone.is_older_than(&again));
    project
        .apply(&project.op(OpKind::Delete, &id, Some(again), ""))
        .await;
    let (_, after) = project.changes(Some(after)).await;
    let (none, same) = project.changes(Some(after.clone())).await;
    assert!(none.iter().all(|(changed, _)| *changed != id));
    assert!(same == after || !none.is_empty());
    let unknown = project
        .push(&project.op(OpKind::Delete, &new_id(), None, ""))
        .await;
    assert_eq!(unknown, PushOutcome::Missing);
}

/// Cases 13 and 33: pages, and a token that is renewed in between.
#[tokio::test(flavor = "multi_thread")]
async fn many_records_arrive_in_small_pages_over_a_refresh() {
    let project = Project::connect().await;
    let (_, start) = project.changes(None).await;
    let ids: Vec<RecordId> = (0..25).map(|_| new_id()).collect();
    for id in &ids {
        project.apply(&project.op(OpKind::Create, id, None, "many")).await;
    }
    project.session.refresh().await.unwrap();
    let mut request = PullRequest {
        target: project.target.clone(),
        since: Some(start),
        page_size: 4,
        holds_nothing: false,
    };
    let mut seen = Vec::new();
    loop {
        let page = project.remote.pull(request.clone()).await.unwrap();
        seen.extend(page.changes.into_iter().map(|change| change.id));
        request.since = Some(page.next);
        if !page.has_more {
            break;
        }
    }
    assert!(
        ids.iter()
            .all(|id| seen.iter().filter(|other| *other == id).count() == 1)
    );
    for id in &ids {
        project.apply(&project.op(OpKind::Delete, id, None, "")).await;
    }
}

/// Cases 17, 22 and 45: refusals as the platform words them.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_read_as_what_they_are() {
    let project = Project::connect().await;
    let mut request = PullRequest {
        target: project.target.clone(),
        since: Some(SyncPoint::new("of no epoch")),
        page_size: 10,
        holds_nothing: false,
    };
    let error = project.remote.pull(request.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResyncRequired, "{error}");
    request.since = None;
    request.target.scope = ScopeKey::parse("nobody-is-a-member-of-this").unwrap();
    let error = project.remote.pull(request.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ScopeRevoked, "{error}");
    let profile = project.remote.profile().clone();
    let nobody = SupabaseRemoteStore::open(config(&Effects::tokio()), profile).unwrap();
    let error = nobody.pull(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}

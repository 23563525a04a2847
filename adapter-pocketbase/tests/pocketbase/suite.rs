//! The testkit's suite of remotes, and with it case 38: in both profiles, as an ordinary user and as a superuser,
//! in both forms of content.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use adapter_pocketbase::{
    CollectionMapping, FieldKind, PocketBaseConfig, PocketBaseRemoteStore, Profile,
    feed::{FeedOptions, setup},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use pocketbase_server::Server;
use serde_json::{Value, json};
use sync_core::{
    CollectionName, Effects, Payload, PushBatch, PushOp, RecordId, RecordKey, RemoteStore, SyncScope, Target,
};
use sync_http::{Credentials, FixedToken, Secret};
use sync_testkit::{certificate, remote_suite::RemoteFixture};

use crate::{
    feed_fixture::{operator, plain},
    load::random_id,
    world::{id, reqwest},
};

/// As whom the suite works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    User,
    Superuser,
}

/// How records are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As JSON text, with ids of any form, and the scopes of all users in one collection.
    Document,
    /// In columns, with PocketBase's own ids, and a collection for each user.
    Fields,
}

struct Fixture {
    server: Server,
    form: Form,
    role: Role,
    /// Two of the same kind: the sign-in of the first is made to expire.
    accounts: [String; 2],
    account: AtomicUsize,
}

const SIGNED_IN: &str = "@request.auth.id != ''";
const BACKUP: &str = "empty.zip";

impl Form {
    /// The collections of the suite at the server.
    fn collections(self) -> Vec<&'static str> {
        match self {
            Self::Document => vec!["todos", "notes"],
            Self::Fields => vec!["todos_ada", "todos_bob", "notes_ada", "notes_bob"],
        }
    }

    fn collection(self, name: &str) -> Value {
        let mut fields = match self {
            Self::Document => vec![
                json!({"name": "doc", "type": "text", "max": 1_000_000}),
                json!({"name": "record_id", "type": "text", "max": 1_000}),
            ],
            Self::Fields => vec![
                json!({"name": "title", "type": "text", "max": 100_000}),
                json!({"name": "done", "type": "json"}),
                json!({"name": "count", "type": "json"}),
                json!({"name": "note", "type": "json"}),
            ],
        };
        fields.extend([
            json!({"name": "owner", "type": "text"}),
            json!({"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true}),
        ]);
        json!({
            "name": name, "type": "base", "fields": fields,
            "listRule": SIGNED_IN, "viewRule": SIGNED_IN, "createRule": SIGNED_IN, "updateRule": SIGNED_IN,
            "deleteRule": SIGNED_IN,
            "indexes": [format!("CREATE INDEX idx_{name}_updated ON {name} (owner, updated, id)")],
        })
    }

    fn mapping(self, name: &str) -> CollectionMapping {
        let mapping = match self {
            Self::Document => CollectionMapping::document(name, "doc").with_derived_ids("record_id"),
            Self::Fields => CollectionMapping::fields(
                name,
                [
                    ("title", FieldKind::OptionalText),
                    ("done", FieldKind::Json),
                    ("count", FieldKind::Json),
                    ("note", FieldKind::Json),
                ],
            ),
        };
        mapping.with_scope_field("user", "owner")
    }
}

impl Fixture {
    async fn start(profile: Profile, role: Role, form: Form) -> Option<Self> {
        let collections: Vec<Value> = form
            .collections()
            .into_iter()
            .map(|name| form.collection(name))
            .collect();
        let server = plain(&collections.into()).await?;
        if profile == Profile::Feed {
            let operator = operator(&server).await;
            for name in form.collections() {
                let options = FeedOptions::new(name).unwrap().with_scope_field("owner").unwrap();
                let options = match form {
                    Form::Document => options.with_copied_field("record_id").unwrap(),
                    Form::Fields => options,
                };
                setup(&operator, &options).await.unwrap();
            }
        }
        let collection = match role {
            Role::User => "users",
            Role::Superuser => "_superusers",
        };
        let mut accounts = Vec::new();
        for name in ["first", "second"] {
            let account = json!({"email": format!("{name}@example.com"), "password": "a-long-password", "passwordConfirm": "a-long-password"});
            let made = server.admin().create(collection, &account).await.unwrap();
            accounts.push(made["id"].as_str().unwrap().to_owned());
        }
        server.back_up(BACKUP).await.unwrap();
        Some(Self {
            server,
            form,
            role,
            accounts: accounts.try_into().unwrap(),
            account: AtomicUsize::new(0),
        })
    }

    fn accounts(&self) -> &'static str {
        match self.role {
            Role::User => "users",
            Role::Superuser => "_superusers",
        }
    }

    async fn sql(&self, statements: &str) {
        self.server.admin().sql(statements).await.unwrap();
    }

    /// The condition that finds a record's row.
    fn row(&self, key: &RecordKey) -> String {
        let column = match self.form {
            Form::Document => "record_id",
            Form::Fields => "id",
        };
        let owner = key.scope().value("user").unwrap();
        format!("{column} = '{}' AND owner = '{owner}'", key.id)
    }
}

#[async_trait]
impl RemoteFixture for Fixture {
    async fn fresh(&self) -> Arc<dyn RemoteStore> {
        let mut config = PocketBaseConfig::new(self.server.url()).unwrap();
        let mut empty = String::new();
        for name in self.form.collections() {
            config = config.with_collection(self.form.mapping(name));
            empty += &format!("DELETE FROM {name};");
        }
        self.sql(&empty).await;
        let tables = self
            .server
            .admin()
            .sql("SELECT name FROM sqlite_master WHERE name LIKE 'sync_%_gone'")
            .await
            .unwrap();
        for table in tables {
            self.sql(&format!("DELETE FROM {};", table[0].as_str().unwrap()))
                .await;
        }
        let account = &self.accounts[self.account.load(Ordering::Relaxed)];
        let path = format!("/api/collections/{}/impersonate/{account}", self.accounts());
        let answer = self
            .server
            .admin()
            .send("POST", &path, Some(&json!({"duration": 3_600})))
            .await
            .unwrap();
        let token = answer.json().unwrap()["token"].as_str().unwrap().to_owned();
        let tokens = Arc::new(FixedToken::new(Credentials::from_jwt(Secret::new(token))));
        let remote = PocketBaseRemoteStore::connect(config, reqwest(), tokens, Effects::tokio())
            .await
            .unwrap();
        Arc::new(remote)
    }

    fn target(&self, collection: &str, user: &str) -> Target {
        let name = match self.form {
            Form::Document => collection.to_owned(),
            Form::Fields => format!("{collection}_{user}"),
        };
        let scope = SyncScope::new("conformance").unwrap().with("user", user).unwrap();
        Target::new(CollectionName::new(name).unwrap(), scope)
    }

    fn record_id(&self, number: u64) -> RecordId {
        RecordId::new(id(number)).unwrap()
    }

    async fn delete_without_trace(&self, _: &dyn RemoteStore, key: &RecordKey) -> bool {
        self.sql(&format!(
            "DELETE FROM {} WHERE {}",
            key.target.collection,
            self.row(key)
        ))
        .await;
        true
    }

    async fn restore_backup(&self, _: &dyn RemoteStore) -> bool {
        self.server.restore(BACKUP).await.unwrap();
        true
    }

    async fn expire_sign_in(&self, _: &dyn RemoteStore) -> bool {
        let account = self.account.fetch_add(1, Ordering::Relaxed);
        let path = format!(
            "/api/collections/{}/records/{}",
            self.accounts(),
            self.accounts[account]
        );
        let body = json!({"password": "another-password", "passwordConfirm": "another-password"});
        self.server
            .admin()
            .send("PATCH", &path, Some(&body))
            .await
            .unwrap()
            .success()
            .unwrap();
        true
    }

    async fn begin_late_write(
        &self,
        remote: &dyn RemoteStore,
        key: &RecordKey,
        record: Payload,
    ) -> Option<BoxFuture<'static, ()>> {
        // The row is written by the adapter, so that it is one of its own, and taken away again with its trace; then
        // it comes back with the time it had at first, as PocketBase stamps a write before its turn to commit.
        let op = PushOp {
            op_id: "0198a000-0000-7000-8000-00000000aaaa".parse().unwrap(),
            key: key.clone(),
            kind: sync_core::OpKind::Create,
            payload: Some(record),
            changed: sync_core::ChangedFields::All,
            base: None,
            stamp: sync_core::Stamp::new(1_700_000_000_000, 0, 1),
            schema_version: 1,
        };
        let batch = PushBatch {
            scope: key.scope().clone(),
            ops: vec![op],
            atomic: false,
        };
        remote.push(batch).await.unwrap();
        let (table, row) = (key.target.collection.to_string(), self.row(key));
        let gone = format!("sync_{table}_gone");
        let has_feed = self
            .server
            .admin()
            .sql(&format!("SELECT COUNT(*) FROM {gone}"))
            .await
            .is_ok();
        let mut take_away = format!(
            "CREATE TABLE late AS SELECT * FROM {table} WHERE {row}; DELETE FROM {table} WHERE {row};"
        );
        if has_feed {
            take_away += &format!("DELETE FROM {gone};");
        }
        self.sql(&take_away).await;
        let admin = self.server.admin().clone();
        Some(Box::pin(async move {
            let bring_back = format!("INSERT INTO {table} SELECT * FROM late; DROP TABLE late;");
            admin.sql(&bring_back).await.unwrap();
        }))
    }

    async fn plant_malformed_row(&self, _: &dyn RemoteStore, target: &Target) -> bool {
        if self.form == Form::Fields {
            // Every row of typed columns can be understood.
            return false;
        }
        let (table, owner) = (&target.collection, target.scope.value("user").unwrap());
        let now = "strftime('%Y-%m-%d %H:%M:%fZ', 'now')";
        let id = random_id();
        self.sql(&format!(
            "INSERT INTO {table} (id, doc, record_id, owner, updated) VALUES ('{id}', 'no JSON', '{id}', '{owner}', {now})"
        ))
        .await;
        true
    }
}

async fn conforms(profile: Profile, role: Role, form: Form) {
    let Some(fixture) = Fixture::start(profile, role, form).await else {
        return;
    };
    let certificate = certificate::of_remote(&fixture).await;
    let page = match (profile, role, form) {
        (Profile::Plain, Role::User, Form::Document) => "pocketbase.md",
        (Profile::Feed, Role::User, Form::Document) => "pocketbase-feed.md",
        _ => return certificate.assert_passed(),
    };
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/proof/certificates");
    certificate.assert_written_at(format!("{book}/{page}"));
}

macro_rules! conformance {
    ($($name:ident: $profile:ident $role:ident $form:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            conforms(Profile::$profile, Role::$role, Form::$form).await;
        })*
    };
}

conformance! {
    case_38_a_plain_server_conforms_as_a_user_sees_it: Plain User Document,
    case_38_a_plain_server_conforms_as_a_superuser_sees_it: Plain Superuser Document,
    case_38_a_server_with_the_feed_conforms_as_a_user_sees_it: Feed User Document,
    case_38_a_server_with_the_feed_conforms_as_a_superuser_sees_it: Feed Superuser Document,
    a_plain_server_with_typed_columns_conforms: Plain User Fields,
    a_server_with_the_feed_and_typed_columns_conforms: Feed User Fields,
}

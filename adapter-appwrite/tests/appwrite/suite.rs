//! The testkit's conformance suite of remotes, over sign-ins, server versions and set-ups of tables.

use std::sync::{Arc, Mutex};

use adapter_appwrite::{AppwriteRemoteStore, Credential, Table};
use appwrite_stand_in::{Profile, RequestMatch};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde_json::json;
use sync_core::{CollectionName, Payload, RecordKey, RemoteStore, SyncScope, Target};
use sync_testkit::{
    certificate,
    effects::TestEffects,
    remote_suite::{self, RemoteFixture},
};

use crate::world::{DATABASE, World, columns};

/// How the suite's collections lie at the server.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Each scope has tables of its own.
    Apart,
    /// All scopes share the tables, which tell them apart by a column.
    Shared,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq)]
enum As {
    User,
    Key,
}

struct Appwrite {
    layout: Layout,
    sign_in: As,
    profile: Profile,
    adjust: fn(Table) -> Table,
    /// The servers of the cases so far: each case has its own.
    world: Mutex<Option<Arc<World>>>,
    key: Mutex<Option<String>>,
}

impl Appwrite {
    fn new(layout: Layout, sign_in: As) -> Self {
        Self {
            layout,
            sign_in,
            profile: Profile::V1_9_6,
            adjust: |table| table,
            world: Mutex::default(),
            key: Mutex::default(),
        }
    }

    fn world(&self) -> Arc<World> {
        self.world.lock().unwrap().clone().unwrap()
    }

    fn table_of(&self, target: &Target) -> String {
        match self.layout {
            Layout::Apart => format!("{}_{}", target.collection, target.scope.name()),
            Layout::Shared => target.collection.to_string(),
        }
    }

    /// Someone with a key deletes a row for good.
    fn erase(&self, table: &str, id: &str) -> bool {
        let path = format!("/v1/tablesdb/{DATABASE}/tables/{table}/rows/{id}");
        self.world().server.as_key("DELETE", &path, &json!(null)).status == 204
    }

    fn connect(&self, world: &World) -> AppwriteRemoteStore {
        let credential = match self.sign_in {
            As::User => world.session("alice"),
            As::Key => {
                let key = world.server.create_key();
                *self.key.lock().unwrap() = Some(key.clone());
                Credential::api_key(key)
            }
        };
        let mut config = world.bare(credential, &TestEffects::tokio(5));
        for collection in ["todos", "notes"] {
            config = match self.layout {
                Layout::Shared => {
                    let table = Table::new(DATABASE, collection).scope_column("user", "owner");
                    config.table("shared", collection, (self.adjust)(table)).unwrap()
                }
                Layout::Apart => ["ada", "bob"].iter().fold(config, |config, user| {
                    let table = Table::new(DATABASE, format!("{collection}_{user}"));
                    config.table(*user, collection, (self.adjust)(table)).unwrap()
                }),
            };
        }
        AppwriteRemoteStore::new(config).unwrap()
    }
}

#[async_trait]
impl RemoteFixture for Appwrite {
    async fn fresh(&self) -> Arc<dyn RemoteStore> {
        let world = Arc::new(World::start_as(self.profile).await);
        for table in ["todos_ada", "todos_bob", "notes_ada", "notes_bob"] {
            world.server.create_table(DATABASE, &columns(table));
        }
        let remote = Arc::new(self.connect(&world));
        *self.world.lock().unwrap() = Some(world);
        remote
    }

    fn target(&self, collection: &str, user: &str) -> Target {
        let scope = match self.layout {
            Layout::Apart => SyncScope::new(user).unwrap(),
            Layout::Shared => SyncScope::new("shared").unwrap().with("user", user).unwrap(),
        };
        Target::new(CollectionName::new(collection).unwrap(), scope)
    }

    async fn delete_without_trace(&self, _: &dyn RemoteStore, key: &RecordKey) -> bool {
        self.erase(&self.table_of(&key.target), key.id.as_str())
    }

    async fn restore_backup(&self, _: &dyn RemoteStore) -> bool {
        let world = self.world();
        let table = self.table_of(&self.target("todos", "ada"));
        world
            .server
            .rows(DATABASE, &table)
            .iter()
            .all(|row| self.erase(&table, row["$id"].as_str().unwrap()))
    }

    async fn expire_sign_in(&self, _: &dyn RemoteStore) -> bool {
        match self.sign_in {
            As::User => self.world().server.end_sessions("alice"),
            As::Key => {
                let key = self.key.lock().unwrap().clone().unwrap();
                self.world().server.end_key(&key);
            }
        }
        true
    }

    async fn plant_malformed_row(&self, _: &dyn RemoteStore, target: &Target) -> bool {
        let world = self.world();
        let table = self.table_of(target);
        let owner = target.scope.value("user");
        let rows = format!("/v1/tablesdb/{DATABASE}/tables/{table}/rows");
        let row = json!({"rowId": "damaged", "data": {"owner": owner}});
        assert_eq!(world.server.as_key("POST", &rows, &row).status, 201);
        world
            .server
            .damage_row(DATABASE, &table, "damaged", &json!({"deleted": "perhaps"}));
        true
    }

    async fn begin_late_write(
        &self,
        remote: &dyn RemoteStore,
        key: &RecordKey,
        record: Payload,
    ) -> Option<BoxFuture<'static, ()>> {
        let _ = remote;
        let world = self.world();
        let mut held = world
            .server
            .hold_write(RequestMatch::method("POST").path("/rows").body(key.id.as_str()));
        let writer = self.connect(&world);
        let scope = key.target.scope.clone();
        let op = sync_core::PushOp {
            op_id: sync_core::OpId::from_uuid(sync_core::Effects::tokio().new_uuid()),
            key: key.clone(),
            kind: sync_core::OpKind::Create,
            payload: Some(record),
            changed: sync_core::ChangedFields::All,
            base: None,
            stamp: sync_core::Stamp::new(1, 0, 9),
            schema_version: 1,
        };
        let writing = tokio::spawn(async move {
            use sync_core::RemoteStoreExt;
            writer.push_ops(&scope, vec![op]).await
        });
        held.arrived().await;
        Some(
            async move {
                held.release();
                writing.await.unwrap().unwrap();
            }
            .boxed(),
        )
    }
}

/// Runs the suite; only the named cases may fail, and must.
async fn assert_fails_only(fixture: Appwrite, expected: &[&str]) {
    let report = remote_suite::run(&fixture).await;
    println!("{report}");
    let failed: Vec<&str> = report.failures().map(|case| case.name.as_str()).collect();
    assert_eq!(failed, expected, "{report}");
    assert!(report.passed() > 65, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_tables_for_each_scope_passes_the_suite() {
    let certificate = certificate::of_remote(&Appwrite::new(Layout::Apart, As::User)).await;
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/proof/certificates");
    certificate.assert_written_at(format!("{book}/appwrite.md"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_tables_for_each_scope_passes_the_suite() {
    assert_fails_only(Appwrite::new(Layout::Apart, As::Key), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_1_8_passes_the_suite() {
    let fixture = Appwrite {
        profile: Profile::V1_8_1,
        ..Appwrite::new(Layout::Apart, As::User)
    };
    assert_fails_only(fixture, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_shared_table_all_that_differs_is_that_ids_are_unique_in_the_table() {
    let cases = [
        "the same id in two scopes is two records",
        "writing one scope leaves the other alone",
    ];
    assert_fails_only(Appwrite::new(Layout::Shared, As::User), &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_op_column_all_that_differs_is_that_a_write_which_changes_nothing_keeps_the_version() {
    let fixture = Appwrite {
        adjust: Table::without_op_column,
        ..Appwrite::new(Layout::Apart, As::User)
    };
    assert_fails_only(fixture, &["every write makes a new version"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_records_kept_whole_the_suite_passes() {
    let fixture = Appwrite {
        adjust: |table| table.document_column("title"),
        ..Appwrite::new(Layout::Apart, As::User)
    };
    assert_fails_only(fixture, &[]).await;
}

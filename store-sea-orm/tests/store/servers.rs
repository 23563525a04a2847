//! The suites of the testkit on database servers that the environment names.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::LocalStore;
use sync_testkit::{
    local_suite::{self, LocalFixture},
    query_suite,
};

/// The server to test against, if the environment names one.
fn server(variable: &str, required_in_ci: bool) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!(required_in_ci && in_ci), "{variable} must be set in CI");
        eprintln!("NOT TESTED: {variable} is not set");
    }
    url
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres_conforms() {
    let Some(url) = server("TEST_POSTGRES_URL", true) else {
        return;
    };
    let server = Server::connect(&url).await;
    local_suite::run(&server).await.assert_passed();
    query_suite::run(&server, 1, 5).await.assert_passed();
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mysql_conforms() {
    let Some(url) = server("TEST_MYSQL_URL", false) else {
        return;
    };
    let server = Server::connect(&url).await;
    local_suite::run(&server).await.assert_passed();
    query_suite::run(&server, 1, 5).await.assert_passed();
}

/// Stores on a server: each in a place of its own.
pub(crate) struct Server {
    base: String,
    admin: sea_orm::DatabaseConnection,
    made: AtomicU32,
    stores: std::sync::Mutex<Vec<(Arc<dyn LocalStore>, String)>>,
}

impl Server {
    /// `base` is the URL of a database on PostgreSQL, or of a server of MySQL without a database.
    pub(crate) async fn connect(base: &str) -> Self {
        let admin = sea_orm::Database::connect(base).await.unwrap();
        Self {
            base: base.to_owned(),
            admin,
            made: AtomicU32::new(0),
            stores: Default::default(),
        }
    }

    async fn open(&self, name: String) -> Arc<dyn LocalStore> {
        let url = if self.base.starts_with("mysql") {
            format!("{}/{name}", self.base.trim_end_matches('/'))
        } else {
            let separator = if self.base.contains('?') { '&' } else { '?' };
            format!("{}{separator}options[search_path]={name}", self.base)
        };
        let store = SeaOrmLocalStore::open(OpenOptions::url(url).readers(2))
            .await
            .unwrap();
        let store: Arc<dyn LocalStore> = Arc::new(store);
        self.stores.lock().unwrap().push((store.clone(), name));
        store
    }
}

#[async_trait]
impl LocalFixture for Server {
    async fn fresh(&self) -> Arc<dyn LocalStore> {
        use sea_orm::ConnectionTrait;
        // Only the latest store is in use; the others would use up the server's connections.
        let stores: Vec<_> = self
            .stores
            .lock()
            .unwrap()
            .iter()
            .map(|(store, _)| store.clone())
            .collect();
        for store in stores {
            store.close().await.unwrap();
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("sync_test_{}_{number}", std::process::id());
        let kind = if self.base.starts_with("mysql") {
            "DATABASE"
        } else {
            "SCHEMA"
        };
        self.admin
            .execute_unprepared(&format!("CREATE {kind} {name}"))
            .await
            .unwrap();
        self.open(name).await
    }

    async fn reopen(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        store.close().await.unwrap();
        let name = {
            let stores = self.stores.lock().unwrap();
            let found = stores.iter().find(|(known, _)| Arc::ptr_eq(known, &store));
            found.expect("a store of this fixture").1.clone()
        };
        self.open(name).await
    }
}

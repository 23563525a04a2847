//! The whole stack.

use std::{
    net::Ipv4Addr,
    sync::{Arc, PoisonError},
};

use sqlx::PgPool;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    auth::Auth,
    database::{Database, PostgresVersion},
    deviations::Deviation,
    error::StackError,
    faults::Faults,
    gateway::{Gateway, PUBLISHABLE_KEY, SECRET_KEY},
    postrust::Postrust,
    realtime::Realtime,
    record::Recorded,
};

/// A running stack. The servers end when it is dropped; the database goes with [`Stack::stop`].
#[derive(Debug)]
pub struct Stack {
    database: Database,
    postrust: Option<Postrust>,
    gateway: Arc<Gateway>,
    port: u16,
    tasks: Vec<JoinHandle<()>>,
    home: TempDir,
}

impl Stack {
    /// Starts a stack whose database has had these statements run by its owner.
    ///
    /// # Errors
    /// `Missing` if the environment names no server, or the data API's program is not built; otherwise whatever did
    /// not work, with the end of the log.
    pub async fn start(version: PostgresVersion, statements: &[&str]) -> Result<Self, StackError> {
        let home = TempDir::new().map_err(StackError::io("making a temporary folder"))?;
        let database = Database::create(version).await?;
        for sql in statements {
            database.run(sql).await?;
        }
        let postrust = Postrust::start(&database.authenticator_url(), home.path()).await?;
        let realtime = Realtime::new(database.pool.clone());
        let notifications = Realtime::listener(&database.pool).await?;
        let gateway = Arc::new(Gateway::new(realtime.clone(), postrust.port()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(StackError::io("listening"))?;
        let port = listener.local_addr().map_err(StackError::io("listening"))?.port();
        let tasks = vec![
            tokio::spawn(gateway.clone().serve(listener)),
            tokio::spawn(realtime.listen(notifications)),
        ];
        Ok(Self {
            database,
            postrust: Some(postrust),
            gateway,
            port,
            tasks,
            home,
        })
    }

    /// As [`Stack::start`], for tests: without what it runs on, the test fails in CI, and elsewhere says that it tests
    /// nothing.
    ///
    /// # Panics
    /// If something is missing and the variable `CI` is `true`, or if the stack does not start.
    pub async fn for_tests(version: PostgresVersion, statements: &[&str]) -> Option<Self> {
        match Self::start(version, statements).await {
            Ok(stack) => Some(stack),
            Err(missing @ StackError::Missing { .. }) => {
                let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
                assert!(!in_ci, "{missing}");
                eprintln!("NOT TESTED: {missing}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The address of the project, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address of the data API itself, behind the gateway, without a slash at its end.
    pub fn data_api_url(&self) -> String {
        let postrust = self.postrust.as_ref();
        let port = postrust.expect("it is away only while it is started anew").port();
        format!("http://127.0.0.1:{port}")
    }

    /// The key for clients.
    pub fn publishable_key(&self) -> &'static str {
        PUBLISHABLE_KEY
    }

    /// The key for servers, with the rights of the service role.
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// Connections of the owner, who is not subject to policies.
    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// Runs statements as the owner.
    ///
    /// # Errors
    /// `Sql` with what the database said.
    pub async fn run_sql(&self, sql: &str) -> Result<(), StackError> {
        self.database.run(sql).await
    }

    /// Starts the data API anew, so that it sees changes of the schema.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub async fn restart_rest(&mut self) -> Result<(), StackError> {
        self.postrust = None;
        let postrust = Postrust::start(&self.database.authenticator_url(), self.home.path()).await?;
        self.gateway.set_upstream_port(postrust.port());
        self.postrust = Some(postrust);
        Ok(())
    }

    /// Makes a user, and gives its id.
    ///
    /// # Errors
    /// `Sql` if the database does not take it.
    pub async fn add_user(&self, email: &str, password: &str) -> Result<String, StackError> {
        let id = self.gateway.auth.add_user(email, password);
        sqlx::query("insert into auth.users (id, email) values ($1::uuid, $2)")
            .bind(&id)
            .bind(email)
            .execute(self.pool())
            .await
            .map_err(StackError::sql("adding a user"))?;
        Ok(id)
    }

    /// An access token of a user, as signing in gives it.
    pub fn access_token(&self, user: &str) -> String {
        self.gateway.auth.access_token(user)
    }

    /// The sign-in.
    pub fn auth(&self) -> &Auth {
        &self.gateway.auth
    }

    /// Disturbances of requests.
    pub fn faults(&self) -> &Faults {
        &self.gateway.faults
    }

    /// The realtime server.
    pub fn realtime(&self) -> &Realtime {
        &self.gateway.realtime
    }

    /// What clients asked so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.gateway.requests.all()
    }

    /// Forgets what clients asked.
    pub fn forget_requests(&self) {
        self.gateway.requests.forget();
    }

    /// Lets through what the data API's server does differently, or mends it again.
    pub fn set_mended(&self, deviation: Deviation, mended: bool) {
        let mut unmended = self
            .gateway
            .unmended
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unmended.retain(|known| *known != deviation);
        if !mended {
            unmended.push(deviation);
        }
    }

    /// Ends the servers and drops the database.
    pub async fn stop(mut self) {
        self.end();
        self.database.drop().await;
    }

    fn end(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.postrust = None;
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.end();
    }
}

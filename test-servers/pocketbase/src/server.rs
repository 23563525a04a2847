//! A private server with everything an operator does to it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    admin::Admin,
    error::ServerError,
    process::{Process, free_port, run_command},
    program::program,
};

const EMAIL: &str = "operator@example.com";
const PASSWORD: &str = "operator-password";
/// How many ports are tried, should others take them between the look and the start.
const PORTS_TRIED: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// A private PocketBase. It ends, and its files go, when this is dropped.
#[derive(Debug)]
pub struct Server {
    // Dropped before the folder, so that nothing writes there any more.
    process: Option<Process>,
    program: PathBuf,
    port: u16,
    url: String,
    admin: Admin,
    home: TempDir,
}

impl Server {
    /// Starts a fresh server without collections of its own, with PocketBase's default settings except that rate
    /// limits are off. Batches are off, too, as PocketBase has them: see [`Admin::enable_batches`].
    ///
    /// # Errors
    /// `NoProgram` if there is no PocketBase to run; the others if it does not come up.
    ///
    /// # Cancel safety
    /// If dropped, the process ends and its files are removed.
    pub async fn start() -> Result<Self, ServerError> {
        let program = program()?;
        let home = tempfile::tempdir().map_err(ServerError::io("making a temporary folder"))?;
        run_command(&program, home.path(), &["superuser", "upsert", EMAIL, PASSWORD]).await?;
        let (process, port) = start_on_a_free_port(&program, home.path()).await?;
        let url = format!("http://127.0.0.1:{port}");
        let admin = Admin::sign_in(&url, EMAIL, PASSWORD).await?;
        Ok(Self {
            process: Some(process),
            program,
            port,
            url,
            admin,
            home,
        })
    }

    /// A server for a test, or `None` if there is no PocketBase to run and this is no CI.
    ///
    /// # Panics
    /// If the server does not come up, or there is no program though the environment says `CI=true`.
    pub async fn for_tests() -> Option<Self> {
        match Self::start().await {
            Ok(server) => Some(server),
            Err(ServerError::NoProgram(path)) => {
                let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
                assert!(!in_ci, "there must be a PocketBase in CI, at {}", path.display());
                eprintln!("NOT TESTED: no PocketBase at {}", path.display());
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Where it listens: scheme, host and port.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls in the name of its superuser.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The e-mail address and the password of its superuser.
    pub fn superuser(&self) -> (&str, &str) {
        (EMAIL, PASSWORD)
    }

    /// The folder of its files; the database is in `dir/` below.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Ends the process at once, as `kill -9` does. What it had acknowledged stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`Server::kill`], on the same files and the same port.
    ///
    /// # Errors
    /// `Process` if it does not come up.
    ///
    /// # Cancel safety
    /// If dropped, it is not running; call it again.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.process = Some(Process::start(&self.program, self.home.path(), self.port).await?);
        Ok(())
    }

    /// Where migration files go, which the server runs when it starts.
    pub fn migrations(&self) -> PathBuf {
        self.home.path().join("migrationsDir")
    }

    /// Runs a command of the program on the server's files, such as `["migrate", "down", "1"]`.
    ///
    /// # Errors
    /// `Process` with what it printed if it fails.
    ///
    /// # Cancel safety
    /// If dropped, the command is ended where it is.
    pub async fn run(&self, command: &[&str]) -> Result<(), ServerError> {
        run_command(&self.program, self.home.path(), command).await
    }

    /// Takes a backup of everything under `name`, which must end in `.zip`.
    ///
    /// # Errors
    /// `Answer` if the server refuses.
    ///
    /// # Cancel safety
    /// If dropped, the backup may be there or not.
    pub async fn back_up(&self, name: &str) -> Result<(), ServerError> {
        let body = serde_json::json!({ "name": name });
        self.admin
            .send("POST", "/api/backups", Some(&body))
            .await?
            .success()
    }

    /// Puts everything back as it was when the backup `name` was taken. The server starts anew within its process.
    ///
    /// # Errors
    /// `Answer` if there is no such backup; `Process` if the server does not come back.
    ///
    /// # Cancel safety
    /// If dropped, the restore may be under way.
    pub async fn restore(&self, name: &str) -> Result<(), ServerError> {
        // The answer comes before the restart, so a row made after the backup tells when it has happened.
        let witness = self.plant_witness().await?;
        let path = format!("/api/backups/{name}/restore");
        self.admin.send("POST", &path, None).await?.success()?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.is_gone(&witness).await {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let what = format!("the backup {name} was not restored within {PATIENCE:?}");
        Err(match &self.process {
            Some(process) => process.error(what),
            None => ServerError::Process {
                what,
                log: String::new(),
            },
        })
    }

    async fn plant_witness(&self) -> Result<String, ServerError> {
        let email = format!("witness-{}@example.com", rand_text());
        let body = serde_json::json!({"email": email, "password": PASSWORD, "passwordConfirm": PASSWORD});
        let path = "/api/collections/_superusers/records";
        let made = self.admin.send("POST", path, Some(&body)).await?.json()?;
        Ok(format!("{path}/{}", made["id"].as_str().unwrap_or_default()))
    }

    async fn is_gone(&self, path: &str) -> bool {
        matches!(self.admin.send("GET", path, None).await, Ok(answer) if answer.status == 404)
    }
}

/// A text that no two calls share.
fn rand_text() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

async fn start_on_a_free_port(program: &Path, home: &Path) -> Result<(Process, u16), ServerError> {
    let mut tried = 0;
    loop {
        tried += 1;
        let port = free_port()?;
        match Process::start(program, home, port).await {
            Ok(process) => return Ok((process, port)),
            Err(error) if tried == PORTS_TRIED => return Err(error),
            Err(_) => {}
        }
    }
}

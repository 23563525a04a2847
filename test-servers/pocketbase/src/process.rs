//! One run of the program: a process with its port and its log.

use std::{
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::error::ServerError;

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
/// How much of the log an error shows.
const LOG_CHARS: usize = 2_000;

/// A running server. Ended by its process id when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// The folders and switches of every call of the program.
fn arguments(home: &Path) -> Vec<String> {
    let folder = |name: &str| format!("--{name}={}", home.join(name).display());
    vec![
        folder("dir"),
        folder("hooksDir"),
        folder("migrationsDir"),
        folder("publicDir"),
        "--automigrate=false".to_owned(),
        "--hooksWatch=false".to_owned(),
    ]
}

/// Runs a command of the program on the files in `home` to its end, answering "yes" if it asks.
pub(crate) async fn run_command(program: &Path, home: &Path, command: &[&str]) -> Result<(), ServerError> {
    let what = command.first().copied().unwrap_or_default();
    let log = home.join("command.log");
    let output = File::create(&log).map_err(ServerError::io("opening the log"))?;
    let errors = output.try_clone().map_err(ServerError::io("opening the log"))?;
    let mut child = Command::new(program)
        .args(command)
        .args(arguments(home))
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(ServerError::io("running a command of PocketBase"))?;
    if let Some(mut answers) = child.stdin.take() {
        // A command that asks nothing may have ended before it reads this.
        let _ = answers.write_all(b"y\n");
    }
    let mut process = Process { child, port: 0, log };
    let begun = Instant::now();
    loop {
        let ended = process
            .child
            .try_wait()
            .map_err(ServerError::io("looking after PocketBase"))?;
        match ended {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(process.error(format!("`{what}` ended with {status}"))),
            None if begun.elapsed() > PATIENCE => {
                return Err(process.error(format!("`{what}` did not end within {PATIENCE:?}")));
            }
            None => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// A port of the loopback interface that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, ServerError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(ServerError::io("finding a free port"))
}

impl Process {
    /// Starts the program over the files in `home`, and waits until it listens.
    pub(crate) async fn start(program: &Path, home: &Path, port: u16) -> Result<Self, ServerError> {
        let log = home.join("log");
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(&log)
                .map_err(ServerError::io("opening the log"))
        };
        let child = Command::new(program)
            .args(["serve", &format!("--http=127.0.0.1:{port}")])
            .args(arguments(home))
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .spawn()
            .map_err(ServerError::io("starting PocketBase"))?;
        let mut process = Self { child, port, log };
        process
            .wait_until("PocketBase does not listen", |process| process.listens())
            .await?;
        Ok(process)
    }

    pub(crate) fn listens(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the condition holds; gives up when the process has ended, or after half a minute.
    async fn wait_until(
        &mut self,
        otherwise: &str,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), ServerError> {
        let begun = Instant::now();
        loop {
            // First whether it lives: a taken port answers as well, but then ours has ended.
            let ended = self
                .child
                .try_wait()
                .map_err(ServerError::io("looking after PocketBase"))?;
            if let Some(status) = ended {
                return Err(self.error(format!("{otherwise}: it ended with {status}")));
            }
            if condition(self) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(self.error(format!("{otherwise} within {PATIENCE:?}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) fn error(&self, what: String) -> ServerError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let start = log.len().saturating_sub(LOG_CHARS);
        let start = (start..=log.len())
            .find(|at| log.is_char_boundary(*at))
            .unwrap_or(0);
        ServerError::Process {
            what,
            log: log[start..].to_owned(),
        }
    }

    /// Ends the process at once, as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

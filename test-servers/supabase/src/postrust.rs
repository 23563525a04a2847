//! The server of the data API: a child process.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{error::StackError, jwt};

const PROGRAM_VARIABLE: &str = "POSTRUST_BIN";
/// Where `scripts/build-postrust.sh` puts the program.
const BUILT: &str = "../../target/postrust/debug/postrust-pinned";
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
const LOG_CHARS: usize = 2_000;

/// The running server. Ended by its process id when it is dropped.
#[derive(Debug)]
pub(crate) struct Postrust {
    child: Child,
    port: u16,
    log: PathBuf,
}

fn program() -> Result<PathBuf, StackError> {
    let named = std::env::var_os(PROGRAM_VARIABLE).filter(|name| !name.is_empty());
    let path = named.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(BUILT),
        PathBuf::from,
    );
    if path.is_file() {
        return Ok(path);
    }
    Err(StackError::Missing {
        what: path.display().to_string(),
        mend: "run scripts/build-postrust.sh, or set POSTRUST_BIN",
    })
}

impl Postrust {
    /// Starts the server over a database, with its log in `home`, and waits until it listens.
    pub(crate) async fn start(database: &str, home: &Path) -> Result<Self, StackError> {
        let program = program()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(StackError::io("finding a free port"))?
            .port();
        let log = home.join("postrust.log");
        let open = || {
            let file = File::options().create(true).append(true).open(&log);
            file.map_err(StackError::io("opening the log"))
        };
        let settings = [
            ("PGRST_DB_URI", database),
            ("PGRST_DB_SCHEMAS", "public"),
            ("PGRST_DB_ANON_ROLE", "anon"),
            ("PGRST_DB_MAX_ROWS", "1000"),
            ("PGRST_DB_POOL", "10"),
            ("PGRST_JWT_SECRET", jwt::SECRET),
            ("PGRST_SERVER_HOST", "127.0.0.1"),
            ("PGRST_SERVER_PORT", &port.to_string()),
            // The texts of errors as PostgREST has them.
            ("PGRST_COMPAT_MODE", "true"),
            ("RUST_LOG", "warn"),
        ];
        let child = Command::new(program)
            .env_clear()
            .envs(settings)
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .spawn()
            .map_err(StackError::io("starting the data API"))?;
        let mut server = Self { child, port, log };
        let begun = Instant::now();
        loop {
            // First whether it lives: a taken port answers as well, but then ours has ended.
            let ended = server
                .child
                .try_wait()
                .map_err(StackError::io("looking after the data API"))?;
            if let Some(status) = ended {
                return Err(server.error(format!("the data API ended with {status}")));
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(server);
            }
            if begun.elapsed() > PATIENCE {
                return Err(server.error(format!("the data API does not listen within {PATIENCE:?}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn error(&self, what: String) -> StackError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let start = log.len().saturating_sub(LOG_CHARS);
        let start = (start..=log.len())
            .find(|at| log.is_char_boundary(*at))
            .unwrap_or(0);
        StackError::Process {
            what,
            log: log[start..].to_owned(),
        }
    }
}

impl Drop for Postrust {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A sign-in in a file that real processes share. Each test runs itself again as the processes.

use std::{path::Path, process::Stdio, time::Duration};

use adapter_supabase::{ApiKey, SupabaseAuth, TokenFile};
use supabase_stack::{Fault, PostgresVersion};
use sync_core::Effects;
use sync_http::CredentialStore;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::world::{PASSWORD, World, reqwest};

/// The file of the sign-in, for a process that shares it.
const FILE: &str = "SYNC_TEST_SIGN_IN_FILE";
/// The project's address and key.
const PROJECT: &str = "SYNC_TEST_PROJECT";
const KEY: &str = "SYNC_TEST_KEY";
const READY: &str = "process: ready";
const RENEWED: &str = "process: renewed ";
const LATER: Duration = Duration::from_secs(2 * 3_600);
/// Far beyond what a refresh takes, and below what a held lock would cost.
const DEADLINE: Duration = Duration::from_secs(45);

/// What a process does: it reads the file, waits for a line, refreshes, and tells its token.
async fn share(file: &Path) {
    let effects = Effects::tokio();
    let (project, key) = (std::env::var(PROJECT).unwrap(), std::env::var(KEY).unwrap());
    let auth = SupabaseAuth::new(&project, ApiKey::new(key), reqwest(), &effects).unwrap();
    let session = auth.session_in_file(TokenFile::new(file, effects.timer.clone()), effects);
    assert!(session.restore().await.unwrap());
    println!("\n{READY}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let renewed = session.refresh().await.unwrap();
    assert!(!session.needs_sign_in());
    println!("\n{RENEWED}{}", renewed.access.reveal());
}

/// Whether this is one of the processes; if so, it has done its part.
async fn was_a_process() -> bool {
    match std::env::var_os(FILE) {
        Some(file) => {
            share(Path::new(&file)).await;
            true
        }
        None => false,
    }
}

/// The full name of a test of this file.
fn test_on(postgres: PostgresVersion, test: &str) -> String {
    let server = match postgres {
        PostgresVersion::V15 => "on_postgres_15",
        PostgresVersion::V17 => "on_postgres_17",
    };
    let module = module_path!().split_once("::").unwrap().1;
    format!("{module}::{server}::{test}")
}

/// A process that has read the file.
struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(test: &str, world: &World, file: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(FILE, file)
            .env(PROJECT, world.stack.url())
            .env(KEY, world.stack.publishable_key())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, input, output };
        process.hear(READY).await;
        process
    }

    async fn hear(&mut self, what: &str) -> String {
        let heard = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                if let Some(rest) = line.strip_prefix(what) {
                    return rest.to_owned();
                }
            }
            panic!("the process ended without saying {what:?}")
        };
        timeout(DEADLINE, heard).await.expect("the process says nothing")
    }

    async fn go(&mut self) {
        self.input.write_all(b"\n").await.unwrap();
    }

    async fn token(&mut self) -> String {
        let token = self.hear(RENEWED).await;
        assert!(self.child.wait().await.unwrap().success());
        token
    }
}

/// Someone signed in, in a file, whose access token has expired and whose refresh token is good once.
async fn signed_in_long_ago(postgres: PostgresVersion, file: &Path) -> Option<World> {
    let world = World::on(postgres).await?;
    world.stack.auth().set_reuse_interval(Duration::ZERO);
    let effects = Effects::tokio();
    let auth = world.auth(&effects);
    let credentials = auth.sign_in("ada@example.com", &PASSWORD.into()).await.unwrap();
    let file = TokenFile::new(file, effects.timer.clone());
    auth.session_in_file(file, effects)
        .sign_in(credentials)
        .await
        .unwrap();
    world.stack.auth().advance_clock(LATER);
    Some(world)
}

on_each_postgres!(
    processes_that_refresh_at_once_refresh_once_between_them,
    a_process_that_is_killed_while_it_refreshes_keeps_no_other_from_it,
);

async fn processes_that_refresh_at_once_refresh_once_between_them(postgres: PostgresVersion) {
    if was_a_process().await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sign-in.json");
    let Some(world) = signed_in_long_ago(postgres, &file).await else {
        return;
    };
    let test = test_on(
        postgres,
        "processes_that_refresh_at_once_refresh_once_between_them",
    );
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(Process::start(&test, &world, &file).await);
    }
    // The slower the project answers, the more of them wait.
    let slow = Fault::Delay(Duration::from_millis(300));
    world.stack.faults().next("/auth/v1/token", slow);
    for process in &mut processes {
        process.go().await;
    }
    let mut tokens = Vec::new();
    for process in &mut processes {
        tokens.push(process.token().await);
    }
    assert_eq!(world.stack.auth().refreshes(), 1);
    let kept = TokenFile::new(&file, Effects::tokio().timer)
        .load()
        .await
        .unwrap();
    let kept = kept.unwrap().access.reveal().to_owned();
    assert_eq!(tokens, vec![kept; 4], "each goes on with the one that was kept");
    world.stack.stop().await;
}

async fn a_process_that_is_killed_while_it_refreshes_keeps_no_other_from_it(postgres: PostgresVersion) {
    if was_a_process().await {
        return;
    }
    let test = test_on(
        postgres,
        "a_process_that_is_killed_while_it_refreshes_keeps_no_other_from_it",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sign-in.json");
    let Some(world) = signed_in_long_ago(postgres, &file).await else {
        return;
    };
    let mut doomed = Process::start(&test, &world, &file).await;
    let mut others = [
        Process::start(&test, &world, &file).await,
        Process::start(&test, &world, &file).await,
    ];
    world.stack.faults().next("/auth/v1/token", Fault::Delay(LATER));
    doomed.go().await;
    let holds_the_lock = async {
        while world.stack.faults().waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, holds_the_lock)
        .await
        .expect("the process does not refresh");
    let lock = std::fs::File::open(format!("{}.lock", file.display())).unwrap();
    assert!(lock.try_lock().is_err(), "it refreshes without the lock");
    for process in &mut others {
        process.go().await;
    }
    doomed.child.kill().await.unwrap();
    let tokens = [others[0].token().await, others[1].token().await];
    assert_eq!(tokens[0], tokens[1]);
    assert_eq!(world.stack.auth().refreshes(), 1);
    world.stack.stop().await;
}

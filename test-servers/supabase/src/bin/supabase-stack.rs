//! Runs a stack until its standard input ends.
//!
//! `supabase-stack [--postgres 15|17] [FILE.sql ...]` prints one line of JSON with the address, the keys and a user, and then
//! takes commands, one on a line: `kill sockets`, `swallow pokes`, `pass pokes`, `advance SECONDS`, `sql STATEMENTS`. Each is
//! answered by a line, `ok` or what went wrong.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use serde_json::json;
use supabase_stack::{PostgresVersion, Stack};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

/// Runs a private Supabase stack until its standard input ends.
#[derive(Debug, Parser)]
struct Arguments {
    /// The PostgreSQL server: 15 (TEST_POSTGRES_URL) or 17 (TEST_POSTGRES17_URL).
    #[arg(long, default_value = "15", value_parser = ["15", "17"])]
    postgres: String,
    /// Files with statements for the new database, run in this order by its owner.
    files: Vec<PathBuf>,
}

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "the password of ada";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let version = match arguments.postgres.as_str() {
        "17" => PostgresVersion::V17,
        _ => PostgresVersion::V15,
    };
    let statements: Vec<String> = arguments
        .files
        .iter()
        .map(std::fs::read_to_string)
        .collect::<Result<_, _>>()?;
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let stack = Stack::start(version, &statements).await?;
    let user = stack.add_user(EMAIL, PASSWORD).await?;
    let facts = json!({
        "url": stack.url(), "publishable_key": stack.publishable_key(), "secret_key": stack.secret_key(),
        "user": user, "email": EMAIL, "password": PASSWORD,
    });
    println!("{facts}");
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        println!("{}", obey(&stack, line.trim()).await);
    }
    stack.stop().await;
    Ok(())
}

async fn obey(stack: &Stack, command: &str) -> String {
    match command.split_once(' ').unwrap_or((command, "")) {
        ("kill", "sockets") => stack.realtime().kill_sockets(),
        ("swallow", "pokes") => stack.realtime().swallow_pokes(true),
        ("pass", "pokes") => stack.realtime().swallow_pokes(false),
        ("advance", seconds) => match seconds.parse() {
            Ok(seconds) => stack.auth().advance_clock(Duration::from_secs(seconds)),
            Err(error) => return format!("error: {error}"),
        },
        ("sql", statements) => {
            if let Err(error) = stack.run_sql(statements).await {
                return format!("error: {error}").replace('\n', " ");
            }
        }
        _ => return "error: unknown command".to_owned(),
    }
    "ok".to_owned()
}

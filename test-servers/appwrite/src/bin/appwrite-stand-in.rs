//! The stand-in as a program, for clients in other languages.
//!
//! `appwrite-stand-in --port 0 --port-file <file> [--profile 1.8.1|1.9.6]` serves on a loopback port until it
//! is ended. The file then holds JSON: the endpoint, the project, an API key, and the session of a user
//! `alice`. There is a database `db1` with a table `notes`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use appwrite_stand_in::{Profile, StandIn, TableSpec};
use serde_json::json;

struct Options {
    port: u16,
    port_file: Option<PathBuf>,
    profile: Profile,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        port: 0,
        port_file: None,
        profile: Profile::V1_9_6,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--port" => options.port = value.parse().map_err(|_| format!("{value} is no port"))?,
            "--port-file" => options.port_file = Some(value.into()),
            "--profile" => {
                options.profile = match value.as_str() {
                    "1.8.1" => Profile::V1_8_1,
                    "1.9.6" => Profile::V1_9_6,
                    _ => return Err(format!("{value} is not a known version")),
                }
            }
            _ => return Err(format!("{name} is not an option")),
        }
    }
    Ok(options)
}

async fn serve(options: Options) -> io::Result<()> {
    let server = StandIn::start_with(options.profile, options.profile.quirks(), options.port).await?;
    server.create_table("db1", &TableSpec::recorded_notes());
    server.create_user("alice");
    let description = json!({
        "endpoint": server.endpoint(),
        "project": server.project(),
        "key": server.create_key(),
        "session": server.create_session("alice"),
        "email": "alice@example.com",
        "password": "password",
    });
    match &options.port_file {
        Some(file) => {
            // A reader must never see half of it.
            let unfinished = file.with_extension("unfinished");
            std::fs::write(&unfinished, description.to_string())?;
            std::fs::rename(unfinished, file)?;
        }
        None => println!("{description}"),
    }
    std::future::pending().await
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

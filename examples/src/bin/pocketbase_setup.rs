//! Prepares a collection of your PocketBase for exact synchronization, or prints the migration that does.
//!
//! ```text
//! PASSWORD=... pocketbase_setup https://example.com admin@example.com todos --scope-field owner
//! pocketbase_setup --migration todos --scope-field owner --read-rule "owner = @request.auth.id" > 1700000000_sync.js
//! PASSWORD=... pocketbase_setup https://example.com admin@example.com todos --scope-field owner --remove
//! ```

use std::{process::ExitCode, sync::Arc};

use adapter_pocketbase::feed::{FeedOptions, Operator, migration, setup, uninstall};
use clap::Parser;
use sync_core::{Result, TokioTimer};
use sync_http::{ReqwestTransport, Secret};

/// Prepares a collection of a PocketBase for exact synchronization.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address of the server, a superuser's e-mail address, and the collection; with --migration the collection
    /// only. The password is taken from the environment variable PASSWORD
    #[arg(required = true, num_args = 1..=3, value_names = ["URL", "EMAIL", "COLLECTION"])]
    place: Vec<String>,

    /// A field by which clients choose their records; may be given more than once
    #[arg(long, value_name = "FIELD")]
    scope_field: Vec<String>,

    /// A field that tombstones carry on: the one with the records' own ids if ids are derived
    #[arg(long, value_name = "FIELD")]
    copied_field: Vec<String>,

    /// Who may read tombstones [default: the list rule of the collection; with --migration, superusers only]
    #[arg(long, value_name = "RULE")]
    read_rule: Option<String>,

    /// Prints a migration file for pb_migrations instead
    #[arg(long, conflicts_with = "remove")]
    migration: bool,

    /// Takes the feed away again; the records stay
    #[arg(long)]
    remove: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(told) => {
            print!("{told}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("pocketbase_setup: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<String, String> {
    if arguments.migration {
        let [collection] = arguments.place.as_slice() else {
            return Err("--migration takes the collection only".to_owned());
        };
        let options = options(arguments, collection).map_err(|error| error.to_string())?;
        return migration(&options, &[]).map_err(|error| error.to_string());
    }
    let [url, email, collection] = arguments.place.as_slice() else {
        return Err("give the address, a superuser's e-mail address and the collection".to_owned());
    };
    let password = std::env::var("PASSWORD").map_err(|_| "the environment has no PASSWORD".to_owned())?;
    prepare(arguments, url, email, &Secret::new(password), collection)
        .await
        .map_err(|error| error.to_string())
}

fn options(arguments: &Arguments, collection: &str) -> Result<FeedOptions> {
    let mut options = FeedOptions::new(collection)?;
    for field in &arguments.scope_field {
        options = options.with_scope_field(field)?;
    }
    for field in &arguments.copied_field {
        options = options.with_copied_field(field)?;
    }
    Ok(match &arguments.read_rule {
        Some(rule) => options.with_read_rule(Some(rule.clone())),
        None => options,
    })
}

async fn prepare(
    arguments: &Arguments,
    url: &str,
    email: &str,
    password: &Secret,
    collection: &str,
) -> Result<String> {
    let options = options(arguments, collection)?;
    let transport = Arc::new(ReqwestTransport::new(Arc::new(TokioTimer))?);
    let operator = Operator::sign_in(transport, url, email, password).await?;
    if arguments.remove {
        uninstall(&operator, &options).await?;
        return Ok(format!(
            "{collection} has no feed any more; its records are as they were\n"
        ));
    }
    let report = setup(&operator, &options).await?;
    let before = if report.was_there {
        "had a feed already"
    } else {
        "has a feed now"
    };
    Ok(format!(
        "{collection} {before}; {} records that were there before it were given a version\n",
        report.numbered
    ))
}

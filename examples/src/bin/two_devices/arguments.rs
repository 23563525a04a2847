//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use examples::input::Format;

/// Lets two devices edit the same records offline, come back over a bad network, and agree.
#[derive(Debug, Parser)]
#[command(name = "two_devices")]
pub(crate) struct Arguments {
    /// Your own records: JSON lines or CSV, with any fields [default: a few thousand cities, shipped]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// The field of the input that holds the id
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub(crate) id: String,

    /// How the input is written: jsonl or csv [default: as its extension tells]
    #[arg(long)]
    pub(crate) format: Option<Format>,

    /// Where the devices meet
    #[arg(long, value_enum, default_value = "memory")]
    pub(crate) remote: RemoteChoice,

    /// The address of a server of your own, instead of a private one started for this run
    #[arg(long, value_name = "URL", requires = "remote_user")]
    pub(crate) remote_url: Option<String>,

    /// Who prepares the server: for PocketBase, a superuser's e-mail address; for Appwrite, the project's id; for
    /// Supabase, service_role. The password, the API key, or the secret key, is taken from the environment variable
    /// REMOTE_PASSWORD
    #[arg(long, value_name = "NAME", requires = "remote_url")]
    pub(crate) remote_user: Option<String>,

    /// A folder for the devices' SQLite files, which stay there [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,

    /// How many writes each device makes offline on records of its own
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub(crate) edits: usize,

    /// How many records both devices change, each without knowing of the other
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub(crate) conflicts: usize,

    /// What decides conflicts
    #[arg(long, value_enum, default_value = "lww")]
    pub(crate) resolver: ResolverChoice,

    /// The seed of everything drawn at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The remotes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RemoteChoice {
    /// A backend in this program's memory
    Memory,
    /// A PocketBase with the sync feed: a private one, or yours with --remote-url
    Pocketbase,
    /// Appwrite: a stand-in, or yours with --remote-url
    Appwrite,
    /// Supabase with the sync feed: a local stack, or yours with --remote-url
    Supabase,
}

/// The resolvers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResolverChoice {
    /// The later write wins
    Lww,
    /// Changes of different fields are merged; the later write decides the rest
    FieldMerge,
    /// The device that synchronizes last wins
    ClientWins,
    /// The device that synchronizes first wins
    ServerWins,
}

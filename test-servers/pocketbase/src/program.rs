//! Where the program is.

use std::path::{Path, PathBuf};

use crate::error::ServerError;

/// The environment variable that names another PocketBase than the fetched one.
pub const PROGRAM_VARIABLE: &str = "POCKETBASE_BIN";

/// Where `scripts/fetch-pocketbase.sh` puts the program.
const FETCHED: &str = "../../data/pocketbase-0.40.6/pocketbase";

/// The PocketBase to run: the one that [`PROGRAM_VARIABLE`] names, else the one the script fetched.
///
/// # Errors
/// `NoProgram` if the file is not there.
pub fn program() -> Result<PathBuf, ServerError> {
    let named = std::env::var_os(PROGRAM_VARIABLE).filter(|name| !name.is_empty());
    let path = named.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(FETCHED),
        PathBuf::from,
    );
    if path.is_file() {
        Ok(path)
    } else {
        Err(ServerError::NoProgram(path))
    }
}

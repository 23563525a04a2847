//! What can end the program early, and with which exit code.

use sync_core::SyncError;
use thiserror::Error;

/// Why the program ends without its table.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// What the user gave cannot be used; the message says what to change.
    #[error("{0}")]
    Usage(String),
    /// The framework failed.
    #[error("{0}")]
    Sync(#[from] SyncError),
    /// The devices did not come to rest.
    #[error("after {attempts} synchronizations device {device} still has {pending} writes to send")]
    Restless {
        /// The device.
        device: &'static str,
        /// How often it synchronized.
        attempts: u32,
        /// How many operations are left.
        pending: u64,
    },
}

impl Failure {
    /// 2 for what the user can mend in the command, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Sync(_) | Self::Restless { .. } => 1,
        }
    }
}

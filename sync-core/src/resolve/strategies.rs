//! The strategies that take one side as a whole.

use super::{Conflict, ConflictResolver, Resolution};
use crate::error::Result;

/// The later write wins, deletes included; see [`Conflict::local_is_later`]. The default.
///
/// The order of two writes of different devices within one millisecond is arbitrary, and the same for everyone.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastWriteWins;

impl ConflictResolver for LastWriteWins {
    fn name(&self) -> &str {
        "last_write_wins"
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        Ok(if conflict.local_is_later() {
            Resolution::KeepLocal
        } else {
            Resolution::TakeRemote
        })
    }
}

/// The remote value wins.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerWins;

impl ConflictResolver for ServerWins {
    fn name(&self) -> &str {
        "server_wins"
    }

    fn resolve(&self, _: &Conflict) -> Result<Resolution> {
        Ok(Resolution::TakeRemote)
    }
}

/// The local value wins. Among several devices, the one that synchronizes last.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientWins;

impl ConflictResolver for ClientWins {
    fn name(&self) -> &str {
        "client_wins"
    }

    fn resolve(&self, _: &Conflict) -> Result<Resolution> {
        Ok(Resolution::KeepLocal)
    }
}

/// The user decides each conflict: it is listed, and waits until it is resolved or discarded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manual;

impl ConflictResolver for Manual {
    fn name(&self) -> &str {
        "manual"
    }

    fn resolve(&self, _: &Conflict) -> Result<Resolution> {
        Ok(Resolution::Defer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::tests::conflict;

    #[test]
    fn each_strategy_takes_its_side() {
        let newer_local = conflict(None, Some(r#"{"a":1}"#), None);
        assert_eq!(
            LastWriteWins.resolve(&newer_local).unwrap(),
            Resolution::KeepLocal
        );
        assert_eq!(ServerWins.resolve(&newer_local).unwrap(), Resolution::TakeRemote);
        assert_eq!(ClientWins.resolve(&newer_local).unwrap(), Resolution::KeepLocal);
        assert_eq!(Manual.resolve(&newer_local).unwrap(), Resolution::Defer);
        let mut newer_remote = newer_local;
        newer_remote.remote_stamp = Some(crate::Stamp::new(11, 0, 0));
        assert_eq!(
            LastWriteWins.resolve(&newer_remote).unwrap(),
            Resolution::TakeRemote
        );
    }
}

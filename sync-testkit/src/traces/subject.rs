//! What a trace is run against.

use crate::naive::{ClientMistake, RemoteMistake, StoreMistake};

/// What the clients of a trace are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The engine, with a store and a remote that do it right.
    #[default]
    Engine,
    /// The engine, with a remote that makes a mistake.
    EngineOnRemote(RemoteMistake),
    /// The engine, with a store that makes a mistake.
    EngineOnStore(StoreMistake),
    /// A naive client that makes a mistake.
    Naive(ClientMistake),
    /// The naive client without a mistake: the measure for all of them.
    Measure,
}

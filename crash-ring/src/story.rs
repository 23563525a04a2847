//! What an app does over some days, as data, so that it can be interrupted anywhere and told again.

use crate::world::Change;

/// One step of a story.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The user writes, in one transaction.
    Write(Vec<Change>),
    /// Push and pull.
    Sync,
    /// Push alone.
    Push,
    /// Everything is pulled again.
    FullResync,
    /// The answer to the next push is lost.
    LoseAnswer,
    /// Somebody else writes at the remote.
    Theirs(Change),
    /// A row appears at the remote that nobody understands.
    Malformed,
    /// Confirmed records leave to save room.
    Shrink,
    /// Another connection writes the log back into the database.
    Checkpoint,
    /// The app is closed in good order and opened again.
    Restart,
}

fn put(id: &'static str, title: impl Into<String>) -> Change {
    Change {
        id,
        title: Some(title.into()),
    }
}

fn delete(id: &'static str) -> Change {
    Change { id, title: None }
}

fn write(change: Change) -> Step {
    Step::Write(vec![change])
}

/// Every kind of step, some of them twice.
pub(crate) fn long() -> Vec<Step> {
    let long_text = |start: &str| format!("{start} {}", "and so on ".repeat(900));
    vec![
        Step::Theirs(put("t1", "theirs 1")),
        Step::Theirs(put("t2", "theirs 2")),
        Step::Theirs(put("t3", "theirs 3")),
        write(put("a", "a one")),
        write(put("b", "b one")),
        write(put("c", "c one")),
        Step::Sync,
        write(put("a", "a two")),
        write(delete("b")),
        Step::Write(vec![
            put("d", "d one"),
            put("c", "c two"),
            put("t2", "mine on theirs"),
        ]),
        Step::Theirs(put("a", "theirs on a")),
        Step::Theirs(delete("t1")),
        Step::Theirs(put("t4", "theirs 4")),
        Step::Malformed,
        Step::Sync,
        write(put("e", long_text("e one"))),
        Step::Checkpoint,
        Step::LoseAnswer,
        Step::Push,
        write(put("e", long_text("e two"))),
        write(put("d", "d two")),
        Step::Restart,
        write(put("c", "c three")),
        Step::Sync,
        Step::Shrink,
        Step::FullResync,
        write(put("f", "f one")),
        write(delete("d")),
        Step::Checkpoint,
        Step::Write(vec![put("g", "g one"), delete("c")]),
        Step::Theirs(put("t3", "theirs 3, newer")),
        Step::Push,
        write(put("f", "f two")),
        write(put("h", "h one")),
    ]
}

/// Enough to pass every kind of statement once.
pub(crate) fn short() -> Vec<Step> {
    vec![
        Step::Theirs(put("t1", "theirs 1")),
        write(put("a", "a one")),
        Step::Write(vec![put("b", "b one"), put("c", "c one")]),
        Step::Sync,
        Step::Theirs(put("t1", "theirs 1, newer")),
        Step::Theirs(put("t2", "theirs 2")),
        write(put("a", "a two")),
        write(delete("b")),
        Step::Sync,
        Step::Restart,
        write(put("c", "c two")),
        Step::Sync,
    ]
}

/// Whether others write the record too, so that its last value is not the user's to say.
pub(crate) fn is_contested(id: &str) -> bool {
    id.starts_with('t') || id == "a"
}

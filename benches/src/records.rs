//! Records of about 300 bytes of JSON.

use serde::{Deserialize, Serialize};
use sync_core::{SyncRecord, SyncScope};

/// A note: the record of every benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "notes")]
pub struct Note {
    /// The id, a text with the look of a UUID.
    #[sync(id)]
    pub id: String,
    /// 40 characters.
    pub title: String,
    /// 120 characters.
    pub body: String,
    /// Whether it is done.
    pub done: bool,
    /// A small number.
    pub priority: i64,
    /// One of 100 owners.
    #[sync(index)]
    pub owner: String,
    /// When it changed, in microseconds UTC.
    #[sync(updated_at)]
    pub updated_at: i64,
}

/// The `n`-th note; equal for equal `n`.
pub fn note(n: u64) -> Note {
    // A fixed odd multiplier spreads ids over the key space, as random ids would be.
    let mixed = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let high = mixed ^ (mixed >> 29);
    Note {
        id: format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{n:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFF,
            n & 0xFFF
        ),
        title: format!("{:<40}", format!("note number {n}")),
        body: format!(
            "{:<120}",
            format!("the body of note {n}, long enough to look like text that a person wrote")
        ),
        done: n.is_multiple_of(3),
        priority: i64::try_from(n % 5).unwrap_or_default(),
        owner: format!("owner-{:02}", n % 100),
        updated_at: 1_760_000_000_000_000 + i64::try_from(n).unwrap_or_default(),
    }
}

/// The scope of every benchmark.
pub fn scope() -> SyncScope {
    SyncScope::new("bench").unwrap_or_else(|_| unreachable!("`bench` is a valid name"))
}

//! The records of the ten workloads: seeded, and the same as those of the other systems that run them.

use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

/// A record of about 300 bytes of JSON, with an index for the query of W5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "todos", index(owner, done, desc(updated_at)))]
pub(crate) struct Todo {
    #[sync(id)]
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) done: bool,
    pub(crate) priority: i64,
    pub(crate) owner: String,
    pub(crate) updated_at: i64,
}

/// The same record without an index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "todos")]
pub(crate) struct PlainTodo {
    #[sync(id)]
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) done: bool,
    pub(crate) priority: i64,
    pub(crate) owner: String,
    pub(crate) updated_at: i64,
}

const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -";

/// Mulberry32, a small generator that JavaScript and Rust compute alike.
#[derive(Debug)]
pub(crate) struct Generator(u32);

impl Generator {
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x6D2B_79F5);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 15)).wrapping_mul(mixed | 1);
        mixed ^= mixed.wrapping_add((mixed ^ (mixed >> 7)).wrapping_mul(mixed | 61));
        mixed ^ (mixed >> 14)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }

    fn text(&mut self, length: usize) -> String {
        let mut bits = 0;
        (0..length)
            .map(|place| {
                // Five letters of six bits each from one number.
                if place % 5 == 0 {
                    bits = self.next();
                }
                let letter = LETTERS[(bits & 63) as usize];
                bits >>= 6;
                char::from(letter)
            })
            .collect()
    }
}

/// The owner with this number, of 100.
pub(crate) fn owner(number: u32) -> String {
    format!("user-{number:02}")
}

/// The record with this number.
pub(crate) fn todo(number: u32) -> Todo {
    let mut random = Generator::new(number.wrapping_mul(0x9E37_79B1) ^ 0x5EED);
    let (a, b, c, d) = (random.next(), random.next(), random.next(), random.next());
    Todo {
        id: format!(
            "{a:08x}-{:04x}-4{:03x}-8{:03x}-{:04x}{d:08x}",
            b >> 16,
            b & 0xFFF,
            c >> 20,
            c & 0xFFFF
        ),
        title: random.text(40),
        body: random.text(120),
        done: random.below(2) == 1,
        priority: random.below(10).into(),
        owner: owner(random.below(100)),
        updated_at: 1_700_000_000_000 + i64::from(number) * 1_000 + i64::from(random.below(1_000)),
    }
}

/// The records from one number to before another.
pub(crate) fn todos(numbers: std::ops::Range<u32>) -> Vec<Todo> {
    numbers.map(todo).collect()
}

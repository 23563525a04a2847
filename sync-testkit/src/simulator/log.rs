//! What happened in a simulation, as one number to compare and as lines to read.

use std::{
    fmt::{self, Write},
    hash::{Hash, Hasher},
    time::Duration,
};

/// Events in their order. Equal runs have equal hashes.
#[derive(Debug)]
pub(crate) struct EventLog {
    hash: Fold,
    lines: Option<Vec<String>>,
}

impl EventLog {
    /// A log that keeps lines only if told to: they cost more than all the rest.
    pub(crate) fn new(keep_lines: bool) -> Self {
        Self {
            hash: Fold::default(),
            lines: keep_lines.then(Vec::new),
        }
    }

    pub(crate) fn event(&mut self, now: Duration, event: fmt::Arguments<'_>) {
        self.hash
            .write_u64(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        // Writing into a number cannot fail.
        let _ = self.hash.write_fmt(event);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.6}s  {event}", now.as_secs_f64()));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// A number that depends on everything written to it, and on nothing else: the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Fold(u64);

impl Default for Fold {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Fold {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        super::dice::mixed(self.0)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
        self.add(bytes.len() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }
}

impl Write for Fold {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Hasher::write(self, text.as_bytes());
        Ok(())
    }
}

/// A short name for a value.
pub(crate) fn fingerprint(value: &(impl Hash + ?Sized)) -> u64 {
    let mut fold = Fold::default();
    value.hash(&mut fold);
    fold.finish()
}

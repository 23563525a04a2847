//! What a crash leaves of the events before it.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, rngs::SmallRng};

use crate::disk::Event;

/// The files of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// What a crash does to writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// The process ends, the machine goes on: nothing.
    Kill,
    /// The power is lost, and with it everything that was not synced.
    LoseUnsynced,
    /// The power is lost: of each file, the unsynced writes up to some moment remain.
    Prefix,
    /// The power is lost: each unsynced sector of 512 bytes is written, or not, or holds noise, in any order.
    Torn,
}

impl Damage {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Kill, Self::LoseUnsynced, Self::Prefix, Self::Torn];

    /// How many different outcomes are tried at each crash point.
    pub fn outcomes(self) -> usize {
        match self {
            Self::Kill | Self::LoseUnsynced => 1,
            Self::Prefix => 3,
            Self::Torn => 5,
        }
    }
}

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// Writes and truncations since the last sync.
    unsynced: Vec<Event>,
}

/// A disk that is played from events, and can crash after each of them.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    folder: BTreeMap<String, usize>,
    synced_folder: BTreeMap<String, usize>,
    contents: Vec<Content>,
}

impl Replay {
    /// Plays one event more.
    pub fn play(&mut self, event: &Event) {
        match event {
            Event::Create { name, inode } => {
                if self.contents.len() <= *inode {
                    self.contents.resize_with(inode + 1, Content::default);
                }
                self.folder.insert(name.clone(), *inode);
            }
            Event::Delete { name, durable } => {
                self.folder.remove(name);
                if *durable {
                    self.synced_folder = self.folder.clone();
                }
            }
            Event::Write { inode, .. } | Event::Truncate { inode, .. } => {
                let content = &mut self.contents[*inode];
                apply(&mut content.live, event);
                content.unsynced.push(event.clone());
            }
            Event::Sync { inode, folder } => {
                let content = &mut self.contents[*inode];
                content.synced = content.live.clone();
                content.unsynced.clear();
                if *folder {
                    self.synced_folder = self.folder.clone();
                }
            }
        }
    }

    /// The files that a crash at this moment leaves.
    pub fn crash(&self, damage: Damage, random: &mut SmallRng) -> Image {
        let folder = match damage {
            Damage::Kill => self.folder.clone(),
            Damage::LoseUnsynced => self.synced_folder.clone(),
            Damage::Prefix | Damage::Torn => self.torn_folder(random),
        };
        let files = folder
            .into_iter()
            .map(|(name, inode)| (name, self.contents[inode].after(damage, random)))
            .collect();
        Image { files }
    }

    /// Each name is as it was synced, or as it is now.
    fn torn_folder(&self, random: &mut SmallRng) -> BTreeMap<String, usize> {
        let names: BTreeSet<_> = self.folder.keys().chain(self.synced_folder.keys()).collect();
        names
            .into_iter()
            .filter_map(|name| {
                let side = if random.random() {
                    &self.folder
                } else {
                    &self.synced_folder
                };
                side.get(name).map(|inode| (name.clone(), *inode))
            })
            .collect()
    }
}

impl Content {
    fn after(&self, damage: Damage, random: &mut SmallRng) -> Vec<u8> {
        let mut bytes = match damage {
            Damage::Kill => return self.live.clone(),
            Damage::LoseUnsynced | Damage::Prefix | Damage::Torn => self.synced.clone(),
        };
        match damage {
            Damage::Prefix => {
                let remaining = random.random_range(0..=self.unsynced.len());
                for event in &self.unsynced[..remaining] {
                    apply(&mut bytes, event);
                }
            }
            Damage::Torn => {
                for event in &self.unsynced {
                    apply_torn(&mut bytes, event, random);
                }
            }
            Damage::Kill | Damage::LoseUnsynced => {}
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write {
            offset, bytes: new, ..
        } => {
            let end = offset + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(new);
        }
        Event::Truncate { len, .. } => bytes.resize(*len, 0),
        Event::Create { .. } | Event::Delete { .. } | Event::Sync { .. } => {}
    }
}

fn apply_torn(bytes: &mut Vec<u8>, event: &Event, random: &mut SmallRng) {
    let Event::Write {
        inode,
        offset,
        bytes: new,
    } = event
    else {
        if random.random() {
            apply(bytes, event);
        }
        return;
    };
    // Sectors of the file, not of the write: a write that spans two can lose either.
    let mut start = 0;
    while start < new.len() {
        let end = (start + SECTOR - (offset + start) % SECTOR).min(new.len());
        let mut part = new[start..end].to_vec();
        let fate: f64 = random.random();
        if fate < 0.05 {
            random.fill(&mut part[..]);
        }
        if fate < 0.55 {
            let part = Event::Write {
                inode: *inode,
                offset: offset + start,
                bytes: part,
            };
            apply(bytes, &part);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn write(offset: usize, byte: u8, len: usize) -> Event {
        Event::Write {
            inode: 0,
            offset,
            bytes: vec![byte; len],
        }
    }

    fn played(events: &[Event]) -> Replay {
        let mut replay = Replay::default();
        for event in events {
            replay.play(event);
        }
        replay
    }

    fn file(image: &Image) -> Option<&[u8]> {
        image.files.get("f").map(Vec::as_slice)
    }

    #[test]
    fn a_kill_loses_nothing_and_a_loss_of_power_what_was_not_synced() {
        let mut random = SmallRng::seed_from_u64(1);
        let create = Event::Create {
            name: "f".into(),
            inode: 0,
        };
        let sync = Event::Sync {
            inode: 0,
            folder: true,
        };
        let replay = played(&[create.clone(), write(0, 1, 600)]);
        assert_eq!(
            file(&replay.crash(Damage::Kill, &mut random)),
            Some(&[1; 600][..])
        );
        assert_eq!(file(&replay.crash(Damage::LoseUnsynced, &mut random)), None);
        let replay = played(&[create, write(0, 1, 600), sync, write(600, 2, 600)]);
        assert_eq!(
            file(&replay.crash(Damage::LoseUnsynced, &mut random)),
            Some(&[1; 600][..])
        );
        let torn: BTreeSet<_> = (0..200)
            .map(|_| replay.crash(Damage::Torn, &mut random).files["f"].clone())
            .collect();
        assert!(torn.len() > 4, "sectors are lost one by one");
        assert!(
            torn.iter().all(|bytes| bytes[..600] == [1; 600]),
            "what was synced stays"
        );
    }

    #[test]
    fn a_delete_that_was_not_synced_may_come_back() {
        let events = [
            Event::Create {
                name: "f".into(),
                inode: 0,
            },
            write(0, 1, 8),
            Event::Sync {
                inode: 0,
                folder: true,
            },
            Event::Delete {
                name: "f".into(),
                durable: false,
            },
        ];
        let replay = played(&events);
        let mut random = SmallRng::seed_from_u64(1);
        assert_eq!(file(&replay.crash(Damage::Kill, &mut random)), None);
        assert!(file(&replay.crash(Damage::LoseUnsynced, &mut random)).is_some());
    }
}

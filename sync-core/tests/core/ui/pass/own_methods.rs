//! Methods of one's own beside the query functions, and names that would hide the trait's functions.
#![deny(warnings, missing_docs, unreachable_pub)]

use serde::{Deserialize, Serialize};
use sync_core::{HasId, HasUpdatedAt, SyncRecord};

#[derive(Clone, Serialize, Deserialize)]
struct Private;

/// A record whose fields are named like functions of the trait, and that is more visible than one of its fields.
#[derive(Clone, Serialize, Deserialize, SyncRecord)]
pub struct Odd {
    /// The id.
    #[sync(id)]
    pub id: String,
    /// Named like a function of the trait.
    #[sync(index)]
    pub schema: bool,
    /// Named like a function of the trait.
    pub upgrade: bool,
    /// Named like a constructor.
    pub new: u8,
    private: Private,
}

/// A record with methods named like its fields.
#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(no_fields)]
pub struct Own {
    #[sync(id)]
    id: String,
    title: String,
}

impl Own {
    fn title(&self) -> &str {
        &self.title
    }
}

fn generic<R: SyncRecord>(record: &R) -> (String, usize) {
    (sync_core::IdText::to_text(&record.id()), R::schema().indexes.len())
}

fn main() {
    let odd = Odd { id: "o".to_owned(), schema: true, upgrade: true, new: 1, private: Private };
    assert_eq!(Odd::schema().indexes, ["schema"]);
    assert_eq!(generic(&odd), ("o".to_owned(), 1));
    assert_eq!((odd.id(), odd.updated_at()), ("o".to_owned(), None));
    assert_eq!(Odd::new().name(), "new");
    assert!(Odd::upgrade(Default::default(), 1).is_ok());
    let own = Own { id: "w".to_owned(), title: "t".to_owned() };
    assert_eq!((own.title(), own.id().as_str()), ("t", "w"));
}

//! Reading JSON objects word by word, so that no word is passed over.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::{Map, Value};

/// What is wrong with a trace; the file, the line and the trace are added further out.
pub(super) type Result<T, E = String> = std::result::Result<T, E>;

/// Words that may stand anywhere and mean nothing.
const REMARKS: [&str; 4] = ["note", "comment", "why", "source"];

/// An object whose words must all be known.
pub(super) struct Reader<'a> {
    what: String,
    object: &'a Map<String, Value>,
    known: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(what: impl Into<String>, value: &'a Value) -> Result<Self> {
        let what = what.into();
        let object = value
            .as_object()
            .ok_or_else(|| format!("{what} must be an object, not {value}"))?;
        Ok(Self {
            what,
            object,
            known: RefCell::default(),
        })
    }

    /// The value of a word; `null` counts as left out.
    pub(super) fn take(&self, word: &str) -> Option<&'a Value> {
        self.known.borrow_mut().insert(word.to_owned());
        self.object.get(word).filter(|value| !value.is_null())
    }

    /// The value of the first of these words that is there.
    pub(super) fn any(&self, words: &[&str]) -> Option<&'a Value> {
        let found: Vec<_> = words.iter().filter_map(|word| self.take(word)).collect();
        found.into_iter().next()
    }

    pub(super) fn text(&self, word: &str) -> Result<Option<String>> {
        self.take(word)
            .map(|value| text(&self.what, word, value))
            .transpose()
    }

    pub(super) fn needed_text(&self, word: &str) -> Result<String> {
        self.text(word)?
            .ok_or_else(|| format!("{} needs `{word}`", self.what))
    }

    pub(super) fn integer(&self, word: &str) -> Result<Option<i64>> {
        let read = |value: &Value| {
            let whole = value.as_f64().filter(|number| number.fract() == 0.0);
            value
                .as_i64()
                .or(whole.map(|number| number as i64))
                .ok_or_else(|| format!("`{word}` in {} must be a whole number, not {value}", self.what))
        };
        self.take(word).map(read).transpose()
    }

    pub(super) fn count(&self, word: &str) -> Result<Option<u64>> {
        let read = |number: i64| {
            u64::try_from(number).map_err(|_| format!("`{word}` in {} must not be negative", self.what))
        };
        self.integer(word)?.map(read).transpose()
    }

    pub(super) fn flag(&self, word: &str) -> Result<Option<bool>> {
        let read = |value: &Value| {
            value
                .as_bool()
                .ok_or_else(|| format!("`{word}` in {} must be true or false, not {value}", self.what))
        };
        self.take(word).map(read).transpose()
    }

    /// Words that were not asked for.
    pub(super) fn rest(&self) -> Vec<(&'a String, &'a Value)> {
        let known = self.known.borrow();
        self.object
            .iter()
            .filter(|(word, _)| !known.contains(*word) && !REMARKS.contains(&word.as_str()))
            .collect()
    }

    /// Refuses words that were not asked for.
    pub(super) fn finish(self) -> Result<()> {
        match self.rest().first() {
            Some((word, _)) => Err(unknown(word, &self.what)),
            None => Ok(()),
        }
    }
}

pub(super) fn unknown(word: &str, place: &str) -> String {
    format!("unknown word `{word}` in {place}")
}

/// A text; ids may also be given as numbers, or as the macro for a long text.
pub(super) fn text(what: &str, word: &str, value: &Value) -> Result<String> {
    match super::super::patterns::expand(value) {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("`{word}` in {what} must be a text, not {other}")),
    }
}

pub(super) fn list<'a>(what: &str, word: &str, value: &'a Value) -> Result<&'a Vec<Value>> {
    value
        .as_array()
        .ok_or_else(|| format!("`{word}` in {what} must be a list, not {value}"))
}

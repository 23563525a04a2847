//! What can be wrong with a file of records, or with a line of it.

use std::{io, path::PathBuf};

use thiserror::Error;

/// A file cannot be read as records at all.
#[derive(Debug, Error)]
pub enum InputError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The extension does not tell the format.
    #[error("cannot tell the format of {}; name it (jsonl or csv)", .0.display())]
    UnknownFormat(PathBuf),
    /// The header of a CSV file cannot be used.
    #[error("the header cannot be used: {0}")]
    Header(Reason),
    /// A CSV file has no header line.
    #[error("the file has no header line")]
    NoHeader,
    /// The header of a CSV file names a field twice.
    #[error("the header names the field {0:?} twice")]
    RepeatedField(String),
    /// The header of a CSV file leaves a field without a name.
    #[error("field {0} of the header has no name")]
    UnnamedField(usize),
    /// The header of a CSV file does not name the id field.
    #[error("the header has no field {id_field:?} to take the id from; it has: {fields}")]
    NoIdField {
        /// The field looked for.
        id_field: String,
        /// The fields there are.
        fields: String,
    },
}

/// A line, or a CSV row of several lines, that is not a record.
#[derive(Debug, Error)]
#[error("line {line}: {reason}")]
pub struct LineProblem {
    /// The line it starts on, counted from 1.
    pub line: u64,
    /// What is wrong.
    #[source]
    pub reason: Reason,
}

/// Why a line is not a record.
#[derive(Debug, Error)]
pub enum Reason {
    /// It is not JSON.
    #[error("not JSON at column {column}: {message}")]
    NotJson {
        /// Where, counted from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// It is JSON, but not an object.
    #[error("{0}, where an object is needed")]
    NotAnObject(&'static str),
    /// It lacks the id field.
    #[error("there is no field {0:?} to take the id from")]
    NoId(String),
    /// The id is neither a text nor an integer.
    #[error("the id in {id_field:?} is {found}; it must be a text or an integer")]
    IdType {
        /// The id field.
        id_field: String,
        /// The type found.
        found: &'static str,
    },
    /// The id is of the right type, but cannot be an id.
    #[error("the id cannot be used: {0}")]
    BadId(String),
    /// Another record before it has the same id.
    #[error("the id {0:?} was on an earlier line")]
    DuplicateId(String),
    /// It is longer than allowed.
    #[error("longer than the {limit} bytes allowed for a record")]
    TooLong {
        /// The most bytes allowed.
        limit: usize,
    },
    /// It is not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where in the record, counted from 1.
        at: usize,
    },
    /// A CSV row does not have as many fields as the header.
    #[error("the header has {expected} fields, this row has {found}")]
    FieldCount {
        /// How many the header has.
        expected: usize,
        /// How many the row has.
        found: usize,
    },
    /// A quoted CSV field is never closed.
    #[error("a quote is opened and not closed")]
    UnclosedQuote,
    /// A closing quote of a CSV field is followed by something else than a comma or the end of the row.
    #[error("text follows a closing quote at byte {at}; double a quote that belongs to the text")]
    TextAfterQuote {
        /// Where in the row, counted from 1.
        at: usize,
    },
    /// The file cannot be read on. The only problem that ends the reading.
    #[error("the file cannot be read on: {0}")]
    Unreadable(#[from] io::Error),
}

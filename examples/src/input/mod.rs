//! Reading the user's own records: JSON lines or CSV, any fields.
//!
//! [`Records`] goes through a file record by record and gives each as a [`InputRecord`] or as the
//! [`LineProblem`] that keeps it from being one. A bad line never ends the reading; at the end,
//! [`Records::summary`] has the counts.
//!
//! # JSON lines
//! One JSON object on each line. Its text is kept as it is. The id is a text, or an integer in its shortest form
//! (`7`, not `7.0`).
//!
//! # CSV
//! RFC 4180: commas, fields in double quotes where needed, a doubled quote for a quote, line breaks allowed
//! within quotes. The first line names the fields. Every value becomes a text, except those that are exactly
//! - `true` or `false`, which become booleans;
//! - a plain number (`12`, `-3.50`, not `007`, `+1`, `1e5` or `.5`), which becomes a number with the same digits.
//!   Integers beyond the range of `i64` stay texts, because as numbers they would be compared inexactly.
//!
//! Quotes around a value do not matter for this. The id is always a text.
//!
//! # Both
//! Empty lines are left out, a byte order mark at the start too; lines end in `\n` or `\r\n`; all text is UTF-8.
//!
//! # Memory
//! A few copies of one record (at most [`InputOptions::max_record_bytes`] each), and some 30 bytes for each id, by
//! which duplicates are found.
//!
//! ```
//! use examples::input::{Format, InputOptions, Records};
//!
//! let text = "id,name,people\n1,Oslo,709037\n2,Bergen\n";
//! let mut records = Records::new(text.as_bytes(), Format::Csv, &InputOptions::default())?;
//! let oslo = records.next().expect("a first row")?;
//! assert_eq!(oslo.payload.as_str(), r#"{"id":"1","name":"Oslo","people":709037}"#);
//! let problem = records.next().expect("a second row").expect_err("it lacks a field");
//! assert_eq!(problem.to_string(), "line 3: the header has 3 fields, this row has 2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod csv_fields;
mod csv_rows;
mod id_set;
mod json_lines;
mod lines;
mod problem;
mod records;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path, str::FromStr};

use sync_core::{Payload, RecordId};

pub use problem::{InputError, LineProblem, Reason};
pub use records::{InputSummary, Records, open};

/// How records are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object on each line.
    JsonLines,
    /// Comma-separated values with a header.
    Csv,
}

impl Format {
    /// The format that the extension of `path` tells: `.jsonl`, `.ndjson` or `.json`, and `.csv`, in any case.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "jsonl" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            _ => Err(format!("{text:?} is no format; use jsonl or csv")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
        })
    }
}

/// How to read records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputOptions {
    /// The format; `None` = as the file's extension tells.
    pub format: Option<Format>,
    /// The field that holds the id.
    pub id_field: String,
    /// The most bytes one record may take in the file, line break included.
    pub max_record_bytes: usize,
}

impl Default for InputOptions {
    /// The format by extension, the id in `id`, at most 16 MiB for a record.
    fn default() -> Self {
        Self {
            format: None,
            id_field: "id".to_owned(),
            max_record_bytes: 16 * 1024 * 1024,
        }
    }
}

/// One record of the user's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    /// The line it starts on, counted from 1.
    pub line: u64,
    /// Its id.
    pub id: RecordId,
    /// All its fields, the id included.
    pub payload: Payload,
}

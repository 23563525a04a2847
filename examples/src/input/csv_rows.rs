//! CSV rows as records.

use std::{collections::BTreeSet, io::BufRead};

use sync_core::{Payload, RecordId};

use super::{
    InputOptions, InputRecord,
    csv_fields::{Row, closes_quote, split},
    lines::{Line, Lines, without_line_break},
    problem::{InputError, LineProblem, Reason},
};

/// The columns of a file.
#[derive(Debug)]
pub(super) struct Header {
    /// The names as JSON texts.
    names: Vec<String>,
    id_column: usize,
}

impl Header {
    /// Reads the header, the first row that is not empty.
    pub(super) fn read<R: BufRead>(lines: &mut Lines<R>, options: &InputOptions) -> Result<Self, InputError> {
        let (_, fields) = next_row(lines, options.max_record_bytes)
            .map_err(|problem| InputError::Header(problem.reason))?
            .ok_or(InputError::NoHeader)?;
        let mut seen = BTreeSet::new();
        for (index, name) in fields.iter().enumerate() {
            if name.is_empty() {
                return Err(InputError::UnnamedField(index + 1));
            }
            if !seen.insert(name.as_str()) {
                return Err(InputError::RepeatedField(name.clone()));
            }
        }
        let id_column = fields
            .iter()
            .position(|name| *name == options.id_field)
            .ok_or_else(|| InputError::NoIdField {
                id_field: options.id_field.clone(),
                fields: fields.join(", "),
            })?;
        Ok(Self {
            names: fields.iter().map(|name| json_text(name)).collect(),
            id_column,
        })
    }

    /// The next row as a record; `None` at the end of the file.
    pub(super) fn next_record<R: BufRead>(
        &self,
        lines: &mut Lines<R>,
        limit: usize,
    ) -> Result<Option<InputRecord>, LineProblem> {
        let Some((line, fields)) = next_row(lines, limit)? else {
            return Ok(None);
        };
        self.record(line, &fields)
            .map(Some)
            .map_err(|reason| LineProblem { line, reason })
    }

    fn record(&self, line: u64, fields: &[String]) -> Result<InputRecord, Reason> {
        if fields.len() != self.names.len() {
            return Err(Reason::FieldCount {
                expected: self.names.len(),
                found: fields.len(),
            });
        }
        let id = fields[self.id_column].as_str();
        let id = RecordId::new(id).map_err(|error| Reason::BadId(error.message().to_owned()))?;
        let mut json = String::from("{");
        for (column, (name, value)) in self.names.iter().zip(fields).enumerate() {
            if column > 0 {
                json.push(',');
            }
            json.push_str(name);
            json.push(':');
            if column != self.id_column && is_bare(value) {
                json.push_str(value);
            } else {
                json.push_str(&json_text(value));
            }
        }
        json.push('}');
        Ok(InputRecord {
            line,
            id,
            payload: Payload::from_stored(json),
        })
    }
}

/// The fields of the next row that is not empty, and the line it starts on; `None` at the end of the file.
///
/// After a row that its quotes make unreadable, reading goes on with its second line: the fault may be a quote
/// on its first, and the lines after it be in order.
fn next_row<R: BufRead>(
    lines: &mut Lines<R>,
    limit: usize,
) -> Result<Option<(u64, Vec<String>)>, LineProblem> {
    let Some(Line { number, bytes }) = next_filled_line(lines)? else {
        return Ok(None);
    };
    let problem = |reason| LineProblem { line: number, reason };
    let mut text = bytes.ok_or_else(|| problem(Reason::TooLong { limit }))?;
    let mut later_lines = Vec::new();
    let reason = loop {
        match split(&text) {
            Row::Fields(fields) => {
                return decode(fields)
                    .map(|fields| Some((number, fields)))
                    .map_err(problem);
            }
            Row::TextAfterQuote { at } => break Reason::TextAfterQuote { at: at + 1 },
            Row::Open => {
                if !extend_to_closing_quote(&mut text, &mut later_lines, lines, limit)? {
                    break Reason::UnclosedQuote;
                }
            }
        }
    };
    lines.put_back(later_lines);
    Err(problem(reason))
}

fn next_filled_line<R: BufRead>(lines: &mut Lines<R>) -> Result<Option<Line>, LineProblem> {
    loop {
        let line = lines.next()?;
        let is_empty = |line: &Line| {
            line.bytes
                .as_deref()
                .is_some_and(|line| without_line_break(line).is_empty())
        };
        if !line.as_ref().is_some_and(is_empty) {
            return Ok(line);
        }
    }
}

/// Appends lines to a row with an open quote, up to the one that closes it; whether there is one within the
/// limit. The lines are kept in `taken`, too.
fn extend_to_closing_quote<R: BufRead>(
    text: &mut Vec<u8>,
    taken: &mut Vec<Line>,
    lines: &mut Lines<R>,
    limit: usize,
) -> Result<bool, LineProblem> {
    while let Some(line) = lines.next()? {
        let fitting = line
            .bytes
            .as_ref()
            .filter(|bytes| text.len() + bytes.len() <= limit);
        let closes = fitting.map(|bytes| {
            text.extend_from_slice(bytes);
            closes_quote(bytes)
        });
        taken.push(line);
        match closes {
            Some(true) => return Ok(true),
            Some(false) => {}
            None => break,
        }
    }
    Ok(false)
}

fn decode(fields: Vec<Vec<u8>>) -> Result<Vec<String>, Reason> {
    let mut before = 0;
    let mut decoded = Vec::with_capacity(fields.len());
    for field in fields {
        let length = field.len();
        let text = String::from_utf8(field).map_err(|error| Reason::NotUtf8 {
            at: before + error.utf8_error().valid_up_to() + 1,
        })?;
        decoded.push(text);
        before += length + 1;
    }
    Ok(decoded)
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether the value stands in JSON as it is: a boolean or a plain number.
fn is_bare(value: &str) -> bool {
    if matches!(value, "true" | "false") {
        return true;
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole_is_plain = all_digits(whole) && (whole == "0" || !whole.starts_with('0'));
    match fraction {
        Some(fraction) => whole_is_plain && all_digits(fraction) && value.parse().is_ok_and(f64::is_finite),
        None => whole_is_plain && value.parse::<i64>().is_ok(),
    }
}

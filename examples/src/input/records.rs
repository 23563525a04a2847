//! The records of a file, one after the other.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use super::{
    Format, InputOptions, InputRecord,
    csv_rows::Header,
    id_set::IdSet,
    json_lines,
    lines::Lines,
    problem::{InputError, LineProblem, Reason},
};

/// How many records and problems there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputSummary {
    /// Records given.
    pub records: u64,
    /// Problems reported.
    pub problems: u64,
}

/// The records of a file, read one by one.
///
/// As an iterator it gives a record or a problem for every line that is not empty; only
/// [`Reason::Unreadable`] ends it before the end of the file.
#[derive(Debug)]
pub struct Records<R> {
    lines: Lines<R>,
    options: InputOptions,
    /// The columns of a CSV file; `None` for JSON lines.
    header: Option<Header>,
    seen: IdSet,
    summary: InputSummary,
    ended: bool,
}

/// Opens a file of records.
///
/// # Errors
/// [`InputError`] if the file cannot be opened, its format not told, or its CSV header not used.
pub fn open(path: &Path, options: &InputOptions) -> Result<Records<BufReader<File>>, InputError> {
    let format = options
        .format
        .or_else(|| Format::of_path(path))
        .ok_or_else(|| InputError::UnknownFormat(path.to_owned()))?;
    let file = File::open(path).map_err(|source| InputError::Open {
        path: path.to_owned(),
        source,
    })?;
    Records::new(BufReader::with_capacity(64 * 1024, file), format, options)
}

impl<R: BufRead> Records<R> {
    /// Reads records from `reader`. The format in `options` is not looked at.
    ///
    /// # Errors
    /// [`InputError`] if the CSV header cannot be used.
    pub fn new(reader: R, format: Format, options: &InputOptions) -> Result<Self, InputError> {
        let mut lines = Lines::new(reader, options.max_record_bytes);
        let header = match format {
            Format::JsonLines => None,
            Format::Csv => Some(Header::read(&mut lines, options)?),
        };
        Ok(Self {
            lines,
            options: options.clone(),
            header,
            seen: IdSet::default(),
            summary: InputSummary::default(),
            ended: false,
        })
    }

    /// What was read so far.
    pub fn summary(&self) -> InputSummary {
        self.summary
    }

    fn read_next(&mut self) -> Result<Option<InputRecord>, LineProblem> {
        let next = match &self.header {
            Some(header) => header.next_record(&mut self.lines, self.options.max_record_bytes)?,
            None => json_lines::next_record(&mut self.lines, &self.options)?,
        };
        match next {
            Some(record) if !self.seen.insert(record.id.as_str()) => {
                let reason = Reason::DuplicateId(record.id.as_str().to_owned());
                Err(LineProblem {
                    line: record.line,
                    reason,
                })
            }
            next => Ok(next),
        }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<InputRecord, LineProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read_next().transpose();
        match &next {
            None => self.ended = true,
            Some(Ok(_)) => self.summary.records += 1,
            Some(Err(problem)) => {
                self.summary.problems += 1;
                self.ended = matches!(problem.reason, Reason::Unreadable(_));
            }
        }
        next
    }
}

//! Loading the user's records onto a device.

use std::{fs::File, io::BufReader, path::Path};

use examples::input::{self, InputOptions, InputRecord, Reason, Records};
use sync_core::{Payload, RecordId, Write};

use crate::{
    arguments::Arguments,
    device::Device,
    failure::Failure,
    story::{ProgressLine, Story},
};

/// How many records go into one transaction.
const BATCH: usize = 500;
/// How many bad lines are shown; the others are counted.
const SHOWN_PROBLEMS: u64 = 10;
/// The records that come with the repository.
const SAMPLE: &str = "data/cities-sample.jsonl";

/// A file of records, known to have at least one.
pub(crate) struct Input {
    /// The file, as the user knows it.
    pub(crate) name: String,
    records: Records<BufReader<File>>,
    /// The record that was read to see that there is one.
    first: Option<InputRecord>,
    /// Lines that are no records.
    pub(crate) bad_lines: u64,
    /// What is wrong with the first of them, until it is told.
    problems: Vec<String>,
}

impl Input {
    /// Opens the input, and reads it up to its first record.
    pub(crate) fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let (path, name) = match &arguments.input {
            Some(path) => (path.clone(), path.display().to_string()),
            None => (
                Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE),
                format!("examples/{SAMPLE}"),
            ),
        };
        let options = InputOptions {
            format: arguments.format,
            id_field: arguments.id.clone(),
            ..InputOptions::default()
        };
        let records = input::open(&path, &options)
            .map_err(|error| Failure::Usage(format!("{error}; see --input, --id and --format")))?;
        let mut input = Self {
            name,
            records,
            first: None,
            bad_lines: 0,
            problems: Vec::new(),
        };
        input.first = input.next_record()?;
        if input.first.is_some() {
            return Ok(input);
        }
        let name = &input.name;
        Err(Failure::Usage(match input.problems.first() {
            Some(problem) => format!(
                "{name} has no usable record, {} lines were left out; {problem}; see --id and --format",
                input.bad_lines
            ),
            None => format!("{name} has no records"),
        }))
    }

    /// Writes every record to the device, as an app does that imports a file. Returns their ids.
    pub(crate) async fn load(&mut self, device: &Device, story: &Story) -> Result<Vec<RecordId>, Failure> {
        let mut progress = story.progress("loading", None);
        let mut ids = Vec::new();
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(record) = self.next_record()? {
            self.tell_problems(&progress);
            batch.push(Write::create_raw(device.key(&record.id), record.payload));
            ids.push(record.id);
            if batch.len() == BATCH {
                device.engine.write_batch(std::mem::take(&mut batch)).await?;
                progress.at(ids.len() as u64);
            }
        }
        self.tell_problems(&progress);
        device.engine.write_batch(batch).await?;
        progress.end();
        Ok(ids)
    }

    fn tell_problems(&mut self, progress: &ProgressLine) {
        for problem in self.problems.drain(..) {
            progress.note(&format!("   left out: {problem}"));
        }
    }

    /// The next record; lines that are none are counted.
    fn next_record(&mut self) -> Result<Option<InputRecord>, Failure> {
        if let Some(record) = self.first.take() {
            return Ok(Some(record));
        }
        for next in self.records.by_ref() {
            let problem = match next {
                // The reader passes JSON on as it stands; that each key occurs once is for the engine to demand.
                Ok(record) => match Payload::parse(record.payload.as_str()) {
                    Ok(_) => return Ok(Some(record)),
                    Err(error) => format!("line {}: {}", record.line, error.message()),
                },
                Err(problem) => {
                    if let Reason::Unreadable(error) = &problem.reason {
                        let message = format!("cannot read {} to its end: {error}", self.name);
                        return Err(Failure::Usage(message));
                    }
                    problem.to_string()
                }
            };
            self.bad_lines += 1;
            if self.bad_lines <= SHOWN_PROBLEMS {
                self.problems.push(problem);
            }
        }
        Ok(None)
    }
}

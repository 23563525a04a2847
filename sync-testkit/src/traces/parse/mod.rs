//! Reading trace files.

mod config;
mod expect;
mod faults;
mod order;
mod reader;
mod step;
mod vectors;

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::vocabulary::{Actor, Step, Trace};
use reader::{Reader, Result};

/// A trace file that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The trace, if at least its id could be read.
    pub trace: Option<String>,
    /// What is wrong, with the word.
    pub problem: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(trace) = &self.trace {
            write!(f, "trace {trace:?}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for TraceError {}

/// Reads traces from the text of a file: one JSON object in each line. Blank lines, and lines that begin with `#` or
/// `//`, are passed over.
///
/// # Errors
/// The first line that is not JSON, or that uses a word which is not in the vocabulary; two traces with one id.
pub fn parse_traces(file: &str, text: &str) -> Result<Vec<Trace>, TraceError> {
    let mut traces: Vec<Trace> = Vec::new();
    let mut ids = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start_matches('\u{feff}').trim();
        if trimmed.is_empty() || trimmed.starts_with('#') || trimmed.starts_with("//") {
            continue;
        }
        let error = |trace: Option<String>, problem: String| TraceError {
            file: file.to_owned(),
            line: index + 1,
            trace,
            problem,
        };
        let value: Value =
            serde_json::from_str(trimmed).map_err(|fault| error(None, format!("not JSON: {fault}")))?;
        let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
        let trace = read_trace(&value, index + 1).map_err(|problem| error(id.clone(), problem))?;
        if !ids.insert(trace.id.clone()) {
            return Err(error(
                id,
                "the id was given to another trace of this file".to_owned(),
            ));
        }
        traces.push(trace);
    }
    Ok(traces)
}

fn read_trace(value: &Value, line: usize) -> Result<Trace> {
    let object = Reader::new("a trace", value)?;
    let id = object.needed_text("id")?;
    let area = object.text("area")?.unwrap_or_else(|| "other".to_owned());
    // Prose for people.
    for prose in ["given", "when", "then", "title", "tags"] {
        object.take(prose);
    }
    let config = match object.take("cfg") {
        Some(config) => config::read(config)?,
        None => Default::default(),
    };
    let max_drift = object.take("cfg").and_then(|config| config.get("max_drift"));
    let mut steps = Vec::new();
    if let Some(list) = object.take("trace") {
        for (index, value) in reader::list("a trace", "trace", list)?.iter().enumerate() {
            let step = step::read(value).map_err(|problem| format!("step {}: {problem}", index + 1))?;
            steps.push(step);
        }
    }
    order::find_senders(&mut steps);
    let clients = clients_of(&steps);
    let expect = match object.take("expect") {
        Some(expect) => expect::read(expect, &clients)?,
        None => Vec::new(),
    };
    let vectors = match object.take("vectors") {
        Some(vectors) => vectors::read(vectors, object.take("max_drift").or(max_drift))?,
        None => Vec::new(),
    };
    object.finish()?;
    if steps.is_empty() && vectors.is_empty() {
        return Err("there is neither `trace` nor `vectors`".to_owned());
    }
    Ok(Trace {
        id,
        area,
        line,
        config,
        steps,
        expect,
        vectors,
    })
}

/// The clients that act, nested steps included.
fn clients_of(steps: &[Step]) -> BTreeSet<String> {
    let mut clients = BTreeSet::new();
    for step in steps {
        if let Actor::Client(name) = &step.actor {
            clients.insert(name.clone());
        }
        for nested in [&step.during_push, &step.during_pull, &step.between_pages] {
            clients.extend(clients_of(nested));
        }
    }
    clients
}

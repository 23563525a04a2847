//! The recordings of a real server, as data.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

/// A recorded request with its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// Its number; other numbers in this directory refer to it.
    pub(crate) number: usize,
    pub(crate) case: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    pub(crate) status: u16,
    pub(crate) answer_headers: Value,
    pub(crate) answer: Value,
}

fn lines(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("recordings")
        .join(file);
    let text = std::fs::read_to_string(path).expect("the recordings are part of the project");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of a recording is JSON"))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// All exchanges in their order, read once.
pub(crate) fn exchanges() -> &'static [Exchange] {
    static READ: OnceLock<Vec<Exchange>> = OnceLock::new();
    READ.get_or_init(read_exchanges)
}

fn read_exchanges() -> Vec<Exchange> {
    let parsed = lines("appwrite-1.9.6-rest.jsonl").into_iter().map(|line| {
        let headers = line["request"]["headers"].as_object().into_iter().flatten();
        Exchange {
            number: usize::try_from(line["n"].as_u64().expect("a number")).expect("a small number"),
            case: text(&line["case"]),
            method: text(&line["request"]["method"]),
            path: text(&line["request"]["path"]),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), text(value)))
                .collect(),
            body: line["request"]["body"].clone(),
            status: u16::try_from(line["response"]["status"].as_u64().expect("a status")).expect("a status"),
            answer_headers: line["response"]["headers"].clone(),
            answer: line["response"]["body"].clone(),
        }
    });
    parsed.collect()
}

/// A frame that a listener sent or received.
#[derive(Debug, Clone)]
pub(crate) struct RecordedFrame {
    pub(crate) case: String,
    /// `>` for sent, `<` for received, `close` for the end.
    pub(crate) direction: String,
    pub(crate) message: Value,
}

/// All realtime frames in their order.
pub(crate) fn frames() -> Vec<RecordedFrame> {
    let parsed = lines("appwrite-1.9.6-realtime.jsonl").into_iter().map(|line| {
        let message = match line["msg"].as_str().map(serde_json::from_str) {
            Some(Ok(parsed)) => parsed,
            _ => line["msg"].clone(),
        };
        RecordedFrame {
            case: text(&line["case"]),
            direction: text(&line["dir"]),
            message,
        }
    });
    parsed.collect()
}

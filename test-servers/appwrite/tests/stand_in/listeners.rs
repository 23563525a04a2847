//! The replay of the realtime frames between the exchanges that caused them.

use appwrite_stand_in::{ConnectionId, Frame, Machine, realtime_request};
use serde_json::{Value, json};

use crate::normalise::Ids;
use crate::recording::{RecordedFrame, frames};

/// What a listener does.
enum Step {
    /// Connects with this query, and as this user.
    Connect(&'static str, Option<usize>),
    /// Sends a message.
    Send(Value),
    /// Sends text that is no JSON.
    SendText(&'static str),
}

/// The steps before an exchange, each with the number of recorded frames that belong to it: what was sent,
/// and what came back at once.
fn steps_before(number: usize) -> Vec<(Step, usize)> {
    match number {
        299 => vec![
            (Step::Connect("", None), 2),
            (Step::Connect("project=nope&channels%5B%5D=rows", None), 3),
            (Step::Connect("project=proj1", None), 2),
            (
                Step::Connect(
                    "project=proj1&channels%5B%5D=databases.db1.tables.notes.rows",
                    None,
                ),
                2,
            ),
        ],
        311 => vec![
            (Step::Send(json!({"type": "ping"})), 2),
            (
                Step::Send(json!({"type": "authentication", "data": {"session": "garbage"}})),
                2,
            ),
            (
                Step::Send(json!({"type": "authentication", "data": {"session": "<SESSION>"}})),
                2,
            ),
            (
                Step::Send(json!({"type": "subscribe", "data": [{
                    "subscriptionId": "sub1",
                    "channels": ["databases.db1.tables.priv.rows"],
                    "queries": ["{\"method\": \"equal\", \"attribute\": \"title\", \"values\": [\"wanted\"]}"],
                }]})),
                2,
            ),
        ],
        315 => vec![
            (
                Step::Send(json!({"type": "subscribe", "data": [{
                    "channels": ["rows"],
                    "queries": ["{\"method\": \"limit\", \"values\": [1]}"],
                }]})),
                2,
            ),
            (
                Step::Send(json!({"type": "unsubscribe", "data": [
                    {"subscriptionId": "sub1"},
                    {"subscriptionId": "zz"},
                ]})),
                2,
            ),
            (Step::SendText("not json"), 2),
            (Step::Send(json!({"type": "frob"})), 2),
            (
                Step::Connect(
                    "project=proj1&channels%5B%5D=databases.db1.tables.priv.rows",
                    Some(1),
                ),
                1,
            ),
        ],
        318 => vec![(
            Step::Connect(
                "project=proj1&channels%5B%5D=databases.db1.tables.notes.rows.delete\
                 &channels%5B%5D=tablesdb.db1.tables.notes.rows.create",
                None,
            ),
            1,
        )],
        320 => vec![(
            Step::Connect(
                "project=proj1&databases.db1.tables.notes.rows%5B0%5D%5B%5D=\
                 %7B%22method%22%3A%22equal%22%2C%22attribute%22%3A%22title%22%2C%22values%22%3A%5B%22hit%22%5D%7D",
                None,
            ),
            1,
        )],
        322 => vec![(
            Step::Connect(
                "project=proj1&channels%5B%5D=databases.db1.tables.notes.rows",
                None,
            ),
            1,
        )],
        _ => Vec::new(),
    }
}

/// The one listener that is connected, and the frames that are still to come.
#[derive(Debug)]
pub(crate) struct Listeners {
    recorded: Vec<RecordedFrame>,
    at: usize,
    equal: usize,
    connection: Option<ConnectionId>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            recorded: frames(),
            at: 0,
            equal: 0,
            connection: None,
        }
    }
}

impl Listeners {
    pub(crate) fn before(
        &mut self,
        number: usize,
        machine: &mut Machine,
        ids: &mut Ids,
        sessions: &[String; 2],
        differences: &mut Vec<String>,
    ) {
        for (step, count) in steps_before(number) {
            match step {
                Step::Connect(query, user) => {
                    if let Some(old) = self.connection.take() {
                        machine.disconnect(old);
                    }
                    let mut request = realtime_request(query);
                    if let Some(user) = user {
                        request = request.header("cookie", &format!("a_session_proj1={}", sessions[user]));
                    }
                    self.connection = Some(machine.connect(&request));
                }
                Step::Send(message) => {
                    let text = message.to_string().replace("<SESSION>", &sessions[0]);
                    self.send(machine, &text);
                }
                Step::SendText(text) => self.send(machine, text),
            }
            let end = self.at + count;
            while self.at < end && self.recorded[self.at].direction == ">" {
                self.at += 1;
                self.equal += 1;
            }
            self.expect(machine, ids, end - self.at, differences);
        }
    }

    fn send(&self, machine: &mut Machine, text: &str) {
        machine.receive(self.connection.expect("a listener is connected"), text);
    }

    /// Takes what an exchange made the server send: as many frames as the recording has here.
    pub(crate) fn after(
        &mut self,
        number: usize,
        machine: &mut Machine,
        ids: &mut Ids,
        differences: &mut Vec<String>,
    ) {
        let count = match number {
            299..=304 | 307 | 312 | 315 | 318 | 319 | 321 | 322 => 1,
            305 | 306 => 2,
            325 => 4,
            _ => 0,
        };
        self.expect(machine, ids, count, differences);
    }

    fn expect(&mut self, machine: &mut Machine, ids: &mut Ids, count: usize, differences: &mut Vec<String>) {
        let Some(connection) = self.connection else { return };
        let got = machine.take_frames(connection);
        let expected = &self.recorded[self.at..self.at + count];
        self.at += count;
        if got.len() != count {
            let case = expected.first().map_or("silence", |frame| frame.case.as_str());
            differences.push(format!(
                "frame {} {case}: expected {count} frames, got {got:?}",
                self.at
            ));
        }
        for (offset, (recorded, frame)) in expected.iter().zip(&got).enumerate() {
            match compare_frame(ids, recorded, frame) {
                Ok(()) => self.equal += 1,
                Err(difference) => {
                    let number = self.at - count + offset;
                    differences.push(format!("frame {number} {}: {difference}", recorded.case));
                }
            }
        }
        if self.at == self.recorded.len() {
            machine.disconnect(connection);
            self.connection = None;
        }
    }

    /// How many frames came out as recorded, or were sent; none may be left.
    pub(crate) fn finish(&self, differences: &mut Vec<String>) -> usize {
        if self.at != self.recorded.len() {
            differences.push(format!(
                "{} frames were not replayed",
                self.recorded.len() - self.at
            ));
        }
        self.equal
    }
}

fn compare_frame(ids: &mut Ids, recorded: &RecordedFrame, frame: &Frame) -> Result<(), String> {
    match frame {
        Frame::Close { with_frame } => {
            // A stream that ends without a close frame was recorded with the code `None`.
            let ended_without =
                recorded.direction == "close" && recorded.message.to_string().contains("None");
            if ended_without && !with_frame {
                Ok(())
            } else {
                Err(format!("got {frame:?}"))
            }
        }
        Frame::Message(message) => {
            let mut message = message.clone();
            // The instant of the sending is not told anywhere else.
            if let Some(at) = message.pointer_mut("/data/timestamp") {
                *at = recorded.message["data"]["timestamp"].clone();
            }
            ids.compare("frame", &recorded.message, &message)
        }
    }
}

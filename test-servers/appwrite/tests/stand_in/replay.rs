//! The replay of all recordings, in their order, against the state machine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use appwrite_stand_in::{
    Arrival, Body, Clock, CountingIds, Machine, Profile, Quirks, Request, Response, TableSpec, Timestamp,
};
use serde_json::{Value, json};

use crate::listeners::Listeners;
use crate::normalise::Ids;
use crate::recording::{Exchange, exchanges};
use crate::script;

/// A clock that gives out the instants that an exchange has in the recording, and later ones when they run
/// out.
#[derive(Debug, Clone)]
struct RecordedClock(Arc<Mutex<Instants>>);

#[derive(Debug)]
struct Instants {
    next: VecDeque<Timestamp>,
    /// The last instant of the recording that was given out.
    last: Timestamp,
    /// How many instants were given out since, each a millisecond after the other.
    beyond: i64,
}

impl RecordedClock {
    fn instants(&self) -> MutexGuard<'_, Instants> {
        self.0.lock().expect("no test panics while it holds the clock")
    }

    fn set(&self, instants: impl IntoIterator<Item = Timestamp>) {
        let mut own = self.instants();
        own.next = instants.into_iter().collect();
        own.beyond = 0;
    }

    fn last(&self) -> Timestamp {
        self.instants().last
    }
}

impl Clock for RecordedClock {
    fn now(&mut self) -> Timestamp {
        let mut instants = self.instants();
        if let Some(now) = instants.next.pop_front() {
            instants.last = now.max(instants.last);
            return now;
        }
        instants.beyond += 1;
        instants.last.plus_millis(instants.beyond)
    }

    fn advance(&mut self, _millis: i64) {}

    fn freeze(&mut self, _at: Timestamp) {}
}

/// How a replay went.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Exchanges that were sent and came out as recorded.
    pub(crate) equal: usize,
    /// Frames that were sent, or came out as recorded.
    pub(crate) frames: usize,
    /// What came out otherwise.
    pub(crate) differences: Vec<String>,
}

/// A listener to everything that is answered, beside what the recording says about it.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(&Exchange, &Request, &Response);

struct Replay<'a> {
    machine: Machine,
    clock: RecordedClock,
    ids: Ids,
    listeners: Listeners,
    report: Report,
    key: String,
    sessions: [String; 2],
    token: String,
    /// The stamps of the rows that a commit made, as later answers tell them.
    told_later: Vec<Timestamp>,
    /// A write that waits for a lock.
    waiting: Option<Arrival>,
    observe: Observer<'a>,
}

/// Replays everything against a server with these quirks.
pub(crate) fn replay(quirks: Quirks, observe: Observer<'_>) -> Report {
    let start = script::at("07:41:00.000");
    let clock = RecordedClock(Arc::new(Mutex::new(Instants {
        next: VecDeque::new(),
        last: start,
        beyond: 0,
    })));
    let mut machine = Machine::new(
        Profile::V1_9_6,
        quirks,
        Box::new(clock.clone()),
        Box::new(CountingIds::default()),
    );
    machine.add_table("db1", &TableSpec::recorded_notes());
    let key = machine.add_key();
    let all = exchanges();
    let mut replay = Replay {
        machine,
        clock,
        ids: Ids::default(),
        listeners: Listeners::default(),
        report: Report::default(),
        key,
        sessions: Default::default(),
        token: String::new(),
        told_later: stamps_told_later(all),
        waiting: None,
        observe,
    };
    for exchange in all {
        replay.before(exchange, all);
        replay.exchange(exchange);
        replay.after(exchange);
    }
    replay.report.frames = replay.listeners.finish(&mut replay.report.differences);
    replay.report
}

/// The dates of an answer that the server made, in order.
fn dates(value: &Value, found: &mut Vec<Timestamp>) {
    match value {
        Value::Object(map) => {
            let own = |key: &str| !matches!(key, "due" | "expire" | "expiresAt");
            map.iter()
                .filter(|(key, _)| own(key))
                .for_each(|(_, value)| dates(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| dates(item, found)),
        Value::String(text) if text.ends_with("+00:00") => found.extend(Timestamp::parse(text)),
        _ => {}
    }
}

/// The stamps of the hundred rows of the big commit, which a bulk delete tells later.
fn stamps_told_later(all: &[Exchange]) -> Vec<Timestamp> {
    let deleted = all
        .iter()
        .find(|exchange| exchange.case == "bulk.delete.m")
        .expect("it is recorded");
    let rows = deleted.answer["rows"].as_array().expect("it tells rows");
    rows.iter()
        .filter_map(|row| Timestamp::parse(row["$createdAt"].as_str()?))
        .collect()
}

impl Replay<'_> {
    /// Does what the recording left out before an exchange.
    fn before(&mut self, exchange: &Exchange, all: &[Exchange]) {
        if let Some((first, rows)) = script::untold_rows(exchange.number) {
            for (sequence, row) in (first..).zip(rows) {
                let data = json!({"title": row.title, "count": row.count, "body": row.body});
                let at = script::at(row.at);
                self.machine
                    .place_row("db1", "notes", row.id, &data, at, sequence);
                self.clock.set([at]);
                self.machine.arrive(0);
            }
        }
        match exchange.number {
            0 => self.machine.continue_sequence_after("db1", "notes", 2),
            283 => {
                let slow = all.iter().find(|other| other.case == "concurrency.slow_update");
                self.clock
                    .set([script::at("07:46:05.649"), script::at("07:46:05.650")]);
                self.begin_waiting(slow.expect("it is recorded"));
            }
            326 => self.machine.enforce_rate_limits(true),
            332 => {
                for count in 0..119 {
                    let body = json!({"data": {"title": format!("b{count}")}});
                    let request = Request::new("PATCH", "/v1/tablesdb/db1/tables/notes/rows/s4").json(&body);
                    let request = request.header("x-appwrite-session", &self.sessions[0]);
                    assert_eq!(self.answer_untold(request).status, 200, "the burst is allowed");
                }
            }
            338 | 340 | 342 => {
                let starts = ["07:53:37.493", "07:53:39.547", "07:53:41.598"];
                let start = script::at(starts[(exchange.number - 338) / 2]);
                self.patch_as_key("rc", &json!({"body": "old", "deleted": false}));
                self.clock.set([start.plus_millis(-1), start]);
                self.begin_waiting(exchange);
                self.patch_as_key("rc", &json!({"body": "NEW by B"}));
            }
            348 => {
                self.clock
                    .set([script::at("07:56:19.752"), script::at("07:56:19.753")]);
                self.patch_as_key("cm1", &json!({"title": "touched"}));
            }
            _ => {}
        }
        let differences = &mut self.report.differences;
        self.listeners.before(
            exchange.number,
            &mut self.machine,
            &mut self.ids,
            &self.sessions,
            differences,
        );
    }

    fn begin_waiting(&mut self, exchange: &Exchange) {
        let request = self.request(exchange);
        self.waiting = Some(self.machine.arrive_early(&request, 0));
    }

    fn answer_untold(&mut self, request: Request) -> Response {
        self.machine
            .answer(&request.header("x-appwrite-project", "proj1"))
    }

    fn patch_as_key(&mut self, id: &str, data: &Value) {
        let request = Request::new("PATCH", &format!("/v1/tablesdb/db1/tables/notes/rows/{id}"));
        let request = request
            .header("x-appwrite-key", &self.key)
            .json(&json!({ "data": data }));
        assert_eq!(
            self.answer_untold(request).status,
            200,
            "an untold write is allowed"
        );
    }

    /// A recorded request with the ids and secrets of this run.
    fn request(&self, exchange: &Exchange) -> Request {
        let mut request = Request::new(&exchange.method, &self.ids.translate(&exchange.path));
        for (name, value) in &exchange.headers {
            let known = !matches!(exchange.case.as_str(), "key.bad" | "session.bad" | "jwt.bad");
            let session =
                &self.sessions[usize::from(script::user_of(exchange.number, &exchange.case) == "bob")];
            let value = match (value.as_str(), name.as_str()) {
                ("<KEY>" | "<SESSION>" | "<JWT>", _) if !known => "unknown".to_owned(),
                ("<KEY>", _) => self.key.clone(),
                ("<JWT>", _) => self.token.clone(),
                ("<SESSION>", "cookie") => format!("a_session_proj1={session}"),
                ("<SESSION>", "x-fallback-cookies") => json!({ "a_session_proj1": session }).to_string(),
                ("<SESSION>", _) => session.clone(),
                (other, _) => other.to_owned(),
            };
            request = request.header(name, &value);
        }
        request.body = match &exchange.body {
            Value::Null => Vec::new(),
            Value::String(raw) => raw.clone().into_bytes(),
            body => self.ids.translate(&body.to_string()).into_bytes(),
        };
        request
    }

    /// The instants of an exchange: its arrival, and then the stamps that its answer tells for the first
    /// time.
    fn instants(&self, exchange: &Exchange) -> Vec<Timestamp> {
        let date = exchange.answer_headers["date"].as_str().unwrap_or_default();
        let date = chrono_of_header(date);
        let last = self.clock.last();
        let mut stamps = Vec::new();
        dates(&exchange.answer, &mut stamps);
        stamps.retain(|at| *at > last && *at < date.plus_millis(2000));
        stamps.sort_unstable();
        stamps.dedup();
        match exchange.number {
            220 => stamps
                .splice(0..0, self.told_later.iter().copied())
                .for_each(drop),
            // No answer tells the stamps of these hundred rows.
            227 => {
                stamps = [stamps[0].plus_millis(-1); 100]
                    .into_iter()
                    .chain(stamps)
                    .collect()
            }
            _ => {}
        }
        if let Some(untold) = script::untold_stamps(exchange.number) {
            stamps = untold.iter().map(|time| script::at(time)).collect();
        }
        let ends = |name: &str, life: i64| {
            let end = exchange.answer[name].as_str().and_then(Timestamp::parse)?;
            Some(end.plus_millis(-life * 1000))
        };
        let life = exchange.body["ttl"].as_i64().unwrap_or(300);
        let makes_transaction = exchange.path == "/v1/tablesdb/transactions";
        let arrival = ends("expire", 31_536_000)
            .or_else(|| ends("expiresAt", life).filter(|_| makes_transaction))
            .or_else(|| stamps.first().copied())
            .unwrap_or_else(|| last.plus_millis(1).max(date));
        std::iter::once(arrival).chain(stamps).collect()
    }

    fn exchange(&mut self, exchange: &Exchange) {
        let request = self.request(exchange);
        let waited = matches!(exchange.number, 285 | 338 | 340 | 342)
            .then(|| self.waiting.take())
            .flatten();
        let arrival = match waited {
            Some(arrival) => arrival,
            None => {
                self.clock.set(self.instants(exchange));
                self.machine.arrive(0)
            }
        };
        let response = self.machine.handle(&request, &arrival);
        self.clock.set([]);
        (self.observe)(exchange, &request, &response);
        self.keep_secrets(exchange, &response);
        match self.compare(exchange, &response) {
            Ok(()) => self.report.equal += 1,
            Err(difference) => {
                self.report
                    .differences
                    .push(format!("{} {}: {difference}", exchange.number, exchange.case));
            }
        }
    }

    fn keep_secrets(&mut self, exchange: &Exchange, response: &Response) {
        let Body::Json(body) = &response.body else { return };
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        if exchange.case == "users.session.by_key" {
            let bob = usize::from(exchange.path.contains("bob"));
            self.sessions[bob] = text("secret").unwrap_or_default();
        }
        if let Some(cookies) = response.headers.get("x-fallback-cookies") {
            let cookies: Value = serde_json::from_str(cookies).unwrap_or_default();
            self.sessions[0] = cookies["a_session_proj1"].as_str().unwrap_or_default().to_owned();
        }
        if let Some(token) = text("jwt") {
            self.token = token;
        }
    }

    fn compare(&mut self, exchange: &Exchange, response: &Response) -> Result<(), String> {
        if exchange.status != response.status {
            let got = &response.body;
            return Err(format!(
                "status: recorded {}, got {} {got:?}",
                exchange.status, response.status
            ));
        }
        self.ids
            .compare_headers(&exchange.answer_headers, &response.headers)?;
        match &response.body {
            Body::Json(body) => self.ids.compare("body", &exchange.answer, body),
            Body::Text(text) => self.ids.compare("body", &exchange.answer, &json!(text)),
            Body::Empty => self.ids.compare("body", &exchange.answer, &json!("")),
            // A page for people is only compared for being one.
            Body::Html(_)
                if exchange
                    .answer
                    .as_str()
                    .is_some_and(|page| page.starts_with("<!DOCTYPE")) =>
            {
                Ok(())
            }
            Body::Html(_) => Err("body: a page for people".to_owned()),
        }
    }

    fn after(&mut self, exchange: &Exchange) {
        if exchange.number == 337 {
            self.machine.enforce_rate_limits(false);
        }
        let differences = &mut self.report.differences;
        self.listeners
            .after(exchange.number, &mut self.machine, &mut self.ids, differences);
    }
}

/// The instant of a `Date` header of the recording day.
fn chrono_of_header(date: &str) -> Timestamp {
    let time = date.split(' ').nth(4).expect("a Date header has a time");
    script::at(&format!("{time}.000"))
}

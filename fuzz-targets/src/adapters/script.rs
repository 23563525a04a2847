//! A server that answers with what it is given, and the time in which that is read.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use serde_json::Value;
use sync_core::SyncPoint;
use sync_http::{
    Bytes, HeaderValue, HttpRequest, HttpResponse, StatusCode, header,
    testing::{ScriptedAnswer, ScriptedTransport},
};
use sync_testkit::effects::VirtualClock;

/// Far more than an input has answers for: a call that asks for more goes round in circles.
const MOST_REQUESTS: usize = 2_000;

/// More turns than any call takes.
const MOST_TURNS: usize = 100_000;

/// Longer than every time-out and every pause that a server can ask for.
const LONG: Duration = Duration::from_secs(2 * 365 * 24 * 3_600);

/// How long a subscription is followed: some heartbeats, and some attempts to connect again.
const WHILE: Duration = Duration::from_secs(300);

/// What a server answers: a line for each request, and then the connection fails.
///
/// A line is a body, with a status before it if that is not 200: `404 {"code":404}`. A first line that begins with `@`
/// is the sync point of a pull.
#[derive(Debug, Default)]
pub(super) struct Script<'d> {
    pub(super) since: Option<SyncPoint>,
    answers: Vec<(StatusCode, &'d [u8])>,
}

impl<'d> Script<'d> {
    pub(super) fn read(data: &'d [u8]) -> Self {
        let mut lines = data.split(|byte| *byte == b'\n').peekable();
        let since = lines.next_if(|line| line.first() == Some(&b'@'));
        Self {
            since: since.map(|line| SyncPoint::new(String::from_utf8_lossy(&line[1..]))),
            answers: lines.map(answer).collect(),
        }
    }

    pub(super) fn transport(&self) -> ScriptedTransport {
        let transport = ScriptedTransport::new();
        for (status, body) in &self.answers {
            let mut response = HttpResponse::new(*status, Bytes::copy_from_slice(body));
            for (name, value) in [
                (header::CONTENT_TYPE, "application/json"),
                (header::DATE, "Wed, 01 Jan 2025 00:00:00 GMT"),
                (header::CONTENT_RANGE, "0-1/2"),
            ] {
                response.headers.insert(name, HeaderValue::from_static(value));
            }
            transport.then(ScriptedAnswer::Response(response));
        }
        transport
    }

    /// The answers that were given so far, each with its request.
    fn given(&self, transport: &ScriptedTransport) -> Vec<(HttpRequest, StatusCode, &'d [u8])> {
        let requests = transport.requests();
        assert!(requests.len() <= MOST_REQUESTS, "{} requests", requests.len());
        let answers = requests.into_iter().zip(&self.answers);
        answers
            .map(|(request, (status, body))| (request, *status, *body))
            .collect()
    }

    /// A call that succeeded has understood every answer of success. Of one that only proves the sign-in, the status is
    /// all that matters, and of one that measures the server's clock, the date.
    pub(super) fn assert_read(&self, transport: &ScriptedTransport) {
        for (request, status, body) in self.given(transport) {
            let path = request.url.path();
            let body_matters = !["/auth-refresh", "/ping", "/health"]
                .iter()
                .any(|end| path.ends_with(end));
            if status.is_success() && body_matters {
                let read = serde_json::from_slice::<Value>(body);
                assert!(read.is_ok(), "an answer to {path} was passed over: {body:?}");
            }
        }
    }

    /// What the only answer was that did not prove a sign-in.
    pub(super) fn only_answer(&self, transport: &ScriptedTransport) -> Option<Value> {
        let proves = |request: &HttpRequest| {
            let path = request.url.path();
            ["/auth-refresh", "/account", "/ping"]
                .iter()
                .any(|end| path.ends_with(end))
        };
        let mut given = self.given(transport).into_iter();
        let mut told = given.by_ref().filter(|(request, ..)| !proves(request));
        match (told.next(), told.next()) {
            (Some((_, status, body)), None) if status.is_success() => serde_json::from_slice(body).ok(),
            _ => None,
        }
    }
}

fn answer(line: &[u8]) -> (StatusCode, &[u8]) {
    let told = line.split_at_checked(4).and_then(|(status, body)| {
        let status = StatusCode::from_bytes(status.strip_suffix(b" ")?).ok()?;
        Some((status, body))
    });
    told.unwrap_or((StatusCode::OK, line))
}

/// Remembers that a task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls a future to its end, in virtual time. `None` if it has not come by then.
fn within<F: Future>(clock: &VirtualClock, limit: Duration, future: F) -> Option<F::Output> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let (mut future, mut left) = (pin!(future), limit);
    for _ in 0..MOST_TURNS {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if woken.0.swap(false, Ordering::Relaxed) {
            continue;
        }
        let pause = clock.next_wake()?;
        left = left.checked_sub(pause)?;
        clock.advance(pause);
    }
    panic!("it goes round in circles")
}

/// What a call comes to.
///
/// # Panics
/// If it comes to nothing.
pub(super) fn driven<F: Future>(clock: &VirtualClock, call: F) -> F::Output {
    within(clock, LONG, call).expect("it waits for what never comes")
}

/// What comes of something that may wait for ever.
pub(super) fn ends<F: Future>(clock: &VirtualClock, future: F) -> Option<F::Output> {
    within(clock, WHILE, future)
}

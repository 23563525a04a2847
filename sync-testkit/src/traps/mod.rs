//! Traps: what others lost, where, and the proof that we do not.
//!
//! A [`Trap`] is one way in which a real system lost, doubled or revived data, or stopped. Its body is a trace (or a
//! piece of code, where a trace has no words for it) that our engine passes. Each has a *double* that makes the
//! mistake, and the same body is shown to fail on it: a trap that catches nothing proves nothing.
//!
//! ```
//! use sync_testkit::traps;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let trap = traps::trap("a_silent_page_cap").unwrap();
//! trap.holds().await?;
//! trap.bites().await?;
//! # Ok::<(), String>(())
//! # }).unwrap();
//! ```

mod code;
mod elsewhere;
mod of_delivery;
mod of_operation;
mod of_parts;
mod of_seeds;
mod of_values;

use futures::future::BoxFuture;

use crate::{
    simulator::Mistake,
    traces::{Outcome, StoreKind, Strategy, Subject, Trace, parse_traces, run_trace_against},
};

pub use elsewhere::{ELSEWHERE, Elsewhere};

/// One way in which others lost something.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    /// The name.
    pub name: &'static str,
    /// What was lost, in one sentence.
    pub lost: &'static str,
    /// Where: public issues of other engines (`peers`, by their number in the book's list), and faults of the
    /// systems that this framework grew out of.
    pub sources: &'static [&'static str],
    body: Body,
    double: Double,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// A trace of this crate, by its id.
    Trace(&'static str),
    /// Code, with the mistake or without it.
    Code(fn(with_mistake: bool) -> BoxFuture<'static, Result<(), String>>),
}

/// What makes the mistake.
#[derive(Clone, Copy, Debug)]
enum Double {
    /// Something in the place of the engine, or around it.
    Subject(Subject),
    /// The code of the body knows how.
    Within(&'static str),
}

impl Trap {
    /// The trace that is its body; `None` if that is code.
    pub fn trace(&self) -> Option<&'static str> {
        match self.body {
            Body::Trace(id) => Some(id),
            Body::Code(_) => None,
        }
    }

    /// What makes the mistake, for people.
    pub fn double(&self) -> String {
        match self.double {
            Double::Subject(Subject::Naive(mistake)) => {
                format!("a client that makes the mistake `{mistake:?}`")
            }
            Double::Subject(Subject::EngineOnRemote(mistake)) => {
                format!("a remote with the mistake `{mistake:?}`")
            }
            Double::Subject(Subject::EngineOnStore(mistake)) => {
                format!("a store with the mistake `{mistake:?}`")
            }
            Double::Subject(other) => format!("{other:?}"),
            Double::Within(what) => what.to_owned(),
        }
    }

    /// The mistake that its double makes, if that is one of those that are kept.
    pub fn mistake(&self) -> Option<Mistake> {
        match self.double {
            Double::Subject(Subject::Naive(mistake)) => Some(Mistake::Client(mistake)),
            Double::Subject(Subject::EngineOnRemote(mistake)) => Some(Mistake::Remote(mistake)),
            Double::Subject(Subject::EngineOnStore(mistake)) => Some(Mistake::Store(mistake)),
            Double::Subject(Subject::Engine | Subject::Measure) | Double::Within(_) => None,
        }
    }

    /// Runs the body on our engine.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn holds(&self) -> Result<(), String> {
        self.run(Subject::Engine, false).await
    }

    /// Runs the body on the double, which must fail. A naive client must also be shown to pass without its
    /// mistake, so that the failure is for the mistake's sake.
    ///
    /// # Errors
    /// That the double passes, or that the client fails without its mistake as well.
    pub async fn bites(&self) -> Result<(), String> {
        let subject = match self.double {
            Double::Subject(subject) => subject,
            Double::Within(_) => Subject::Engine,
        };
        if self.run(subject, true).await.is_ok() {
            return Err(format!("{} passes", self.double()));
        }
        match subject {
            // A naive client asks no user, with a mistake or without one.
            Subject::Naive(_) if self.asks_the_user()? => Ok(()),
            Subject::Naive(_) => {
                let measure = self.run(Subject::Measure, false).await;
                measure.map_err(|failure| format!("the client fails without its mistake as well: {failure}"))
            }
            _ => Ok(()),
        }
    }

    fn asks_the_user(&self) -> Result<bool, String> {
        match self.body {
            Body::Trace(id) => Ok(trace(id)?.config.resolver == Strategy::Manual),
            Body::Code(_) => Ok(false),
        }
    }

    async fn run(&self, subject: Subject, with_mistake: bool) -> Result<(), String> {
        match self.body {
            Body::Code(run) => run(with_mistake).await,
            Body::Trace(id) => {
                let trace = trace(id)?;
                match run_trace_against(subject, &trace, StoreKind::Memory)
                    .await
                    .outcome
                {
                    Outcome::Passed => Ok(()),
                    Outcome::Unsupported(what) => Err(format!("not supported: {what}")),
                    Outcome::Failed(failures) => {
                        let first = failures.first().map(|failure| {
                            format!(
                                "step {}: expected {}; got {}",
                                failure.step, failure.expected, failure.got
                            )
                        });
                        Err(first.unwrap_or_default())
                    }
                }
            }
        }
    }
}

/// Every trap.
pub fn all() -> impl Iterator<Item = &'static Trap> {
    [
        of_delivery::OF_DELIVERY,
        of_operation::OF_OPERATION,
        of_seeds::OF_SEEDS,
        of_values::OF_VALUES,
        of_parts::OF_PARTS,
    ]
    .into_iter()
    .flatten()
}

/// The trap with this name.
pub fn trap(name: &str) -> Option<&'static Trap> {
    all().find(|trap| trap.name == name)
}

/// The trace files of this crate.
const FILES: &[(&str, &str)] = &[
    ("clock.jsonl", include_str!("../../traces/clock.jsonl")),
    ("conflicts.jsonl", include_str!("../../traces/conflicts.jsonl")),
    ("crash.jsonl", include_str!("../../traces/crash.jsonl")),
    ("cursor.jsonl", include_str!("../../traces/cursor.jsonl")),
    ("deletes.jsonl", include_str!("../../traces/deletes.jsonl")),
    (
        "exactly-once.jsonl",
        include_str!("../../traces/exactly-once.jsonl"),
    ),
    ("limits.jsonl", include_str!("../../traces/limits.jsonl")),
    ("order.jsonl", include_str!("../../traces/order.jsonl")),
    ("outbox.jsonl", include_str!("../../traces/outbox.jsonl")),
    ("paging.jsonl", include_str!("../../traces/paging.jsonl")),
    ("poison.jsonl", include_str!("../../traces/poison.jsonl")),
    ("policies.jsonl", include_str!("../../traces/policies.jsonl")),
    ("restart.jsonl", include_str!("../../traces/restart.jsonl")),
    ("resync.jsonl", include_str!("../../traces/resync.jsonl")),
    ("scopes.jsonl", include_str!("../../traces/scopes.jsonl")),
    ("traps.jsonl", include_str!("../../traces/traps.jsonl")),
];

/// A trace of this crate, by its id.
fn trace(id: &str) -> Result<Trace, String> {
    for (file, text) in FILES {
        let named = |line: &&str| line.contains(&format!("\"id\":\"{id}\""));
        if let Some(line) = text.lines().find(named) {
            let traces = parse_traces(file, line).map_err(|error| error.to_string())?;
            return traces
                .into_iter()
                .next()
                .ok_or_else(|| format!("{file} is empty"));
        }
    }
    Err(format!("there is no trace {id:?}"))
}

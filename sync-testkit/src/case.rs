//! How cases are written, run and judged.

use std::{any::Any, fmt, panic::AssertUnwindSafe, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, Either},
};
use sync_core::{SyncError, Timer};

use crate::report::{CaseOutcome, CaseReport};

/// Why a case did not pass.
#[derive(Debug)]
pub(crate) enum Stop {
    NotApplicable(&'static str),
    Failed(String),
}

impl Stop {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

impl From<SyncError> for Stop {
    fn from(error: SyncError) -> Self {
        Self::Failed(format!("unexpected error: {error}"))
    }
}

pub(crate) type Verdict<T = ()> = Result<T, Stop>;

/// A case over a context `C` that is made fresh for it.
pub(crate) struct Case<C> {
    pub(crate) name: &'static str,
    pub(crate) promises: &'static str,
    pub(crate) run: for<'a> fn(&'a C) -> BoxFuture<'a, Verdict>,
}

/// Lists async functions as cases, each with the promises that rest on it. The sentence is the function's name.
macro_rules! cases {
    ($($promises:literal $case:ident),* $(,)?) => {
        vec![$($crate::case::Case {
            name: stringify!($case),
            promises: $promises,
            run: |context| Box::pin($case(context)),
        }),*]
    };
}
pub(crate) use cases;

/// Ends the case as failed unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::case::Stop::failed(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// Ends the case as failed unless both are equal.
macro_rules! ensure_eq {
    ($actual:expr, $expected:expr, $($what:tt)+) => {
        $crate::case::equal(&$actual, &$expected, || format!($($what)+))?
    };
}
pub(crate) use ensure_eq;

pub(crate) fn equal<A, E>(actual: &A, expected: &E, what: impl FnOnce() -> String) -> Verdict
where
    A: PartialEq<E> + fmt::Debug + ?Sized,
    E: fmt::Debug + ?Sized,
{
    if actual == expected {
        return Ok(());
    }
    Err(Stop::failed(format!(
        "{}: expected {}, got {}",
        what(),
        shortened(expected),
        shortened(actual)
    )))
}

/// The debug form, cut where it would drown the report.
pub(crate) fn shortened(value: &(impl fmt::Debug + ?Sized)) -> String {
    const MOST_CHARS: usize = 1_500;
    let text = format!("{value:?}");
    match text.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{} ... ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

/// Runs one case to its verdict: a panic or a missed deadline is a failure of this case alone.
pub(crate) async fn judge(
    name: &str,
    promises: &'static str,
    case: impl Future<Output = Verdict> + Send,
    timer: &dyn Timer,
    deadline: Duration,
) -> CaseReport {
    let case = AssertUnwindSafe(case).catch_unwind();
    futures::pin_mut!(case);
    let outcome = match futures::future::select(case, timer.sleep(deadline)).await {
        Either::Left((Ok(Ok(())), _)) => CaseOutcome::Passed,
        Either::Left((Ok(Err(Stop::NotApplicable(capability))), _)) => {
            CaseOutcome::NotApplicable { capability }
        }
        Either::Left((Ok(Err(Stop::Failed(message))), _)) => CaseOutcome::Failed { message },
        Either::Left((Err(panic), _)) => CaseOutcome::Failed {
            message: format!("panicked: {}", panic_message(&*panic)),
        },
        Either::Right(_) => CaseOutcome::Failed {
            message: format!("did not end within {deadline:?}"),
        },
    };
    CaseReport {
        name: name.replace('_', " "),
        promises,
        outcome,
    }
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// Lets other futures of the same task run once.
pub(crate) async fn give_way() {
    let mut gave_way = false;
    futures::future::poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

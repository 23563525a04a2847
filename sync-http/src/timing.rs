//! Waiting with an end.

use std::time::Duration;

use futures::future::{Either, select};
use sync_core::Timer;

/// `future`, or `None` if it has not ended after `limit`, in which case it is dropped.
///
/// # Cancel safety
/// That of `future`.
pub async fn within<F: Future>(timer: &dyn Timer, limit: Duration, future: F) -> Option<F::Output> {
    let sleep = timer.sleep(limit);
    futures::pin_mut!(future);
    match select(future, sleep).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

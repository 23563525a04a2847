//! News on their way to a device: lost, doubled, late, cut off.

use std::{sync::Arc, time::Duration};

use futures::{
    channel::mpsc,
    future::ready,
    stream::{self, AbortHandle, BoxStream, Stream, StreamExt},
};
use sync_core::Poke;

use super::{executor::NOBODY, fault_kind::FaultKind, shared::Shared};

/// The stream with what happens to it on the way. It ends when the connection is cut.
pub(crate) fn disturbed(
    shared: &Arc<Shared>,
    device: usize,
    pokes: BoxStream<'static, Poke>,
) -> impl Stream<Item = Poke> + Send + use<> {
    let (late, arriving) = mpsc::unbounded();
    let disturber = Arc::clone(shared);
    let on_time = pokes.flat_map(move |poke| stream::iter(arrivals(&disturber, device, poke, &late)));
    // What is late comes as long as the connection stands.
    let ending = on_time.map(Some).chain(stream::iter([None]));
    let both = stream::select(ending, arriving.map(Some))
        .take_while(|poke| ready(poke.is_some()))
        .filter_map(ready);
    let (connection, handle) = stream::abortable(both);
    shared.weather().subscriptions.push(handle);
    connection
}

/// What arrives at once of one poke.
fn arrivals(
    shared: &Arc<Shared>,
    device: usize,
    poke: Poke,
    late: &mpsc::UnboundedSender<Poke>,
) -> Vec<Poke> {
    if poke == Poke::Subscribed {
        return vec![poke];
    }
    let fault = shared.weather().devices[device].pokes.pop_front();
    let Some((kind, amount)) = fault else {
        return vec![poke];
    };
    shared.struck(kind);
    match kind {
        FaultKind::PokeLost => Vec::new(),
        FaultKind::PokeDuplicated => vec![poke.clone(), poke],
        _ => {
            let (executor, late) = (shared.executor.clone(), late.clone());
            let delay = Duration::from_millis(1 + amount % 60_000);
            shared.executor.spawn(
                NOBODY,
                Box::pin(async move {
                    executor.sleep(delay).await;
                    // The subscription may be gone by then.
                    let _ = late.unbounded_send(poke);
                }),
            );
            Vec::new()
        }
    }
}

/// Breaks every connection. Returns how many stood.
pub(crate) fn cut(subscriptions: Vec<AbortHandle>) -> usize {
    let standing = subscriptions.iter().filter(|handle| !handle.is_aborted()).count();
    subscriptions.iter().for_each(AbortHandle::abort);
    standing
}

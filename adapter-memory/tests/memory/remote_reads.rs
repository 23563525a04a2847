//! Listings, searches, and news of the remote.

use std::time::Duration;

use adapter_memory::{MemoryRemoteStore, faults::PokeFault};
use futures::{FutureExt, StreamExt, stream::BoxStream};
use sync_core::{
    ErrorKind, Poke, RemoteState, RemoteStore,
    query::{Filter, OrderBy, QuerySpec},
};

use crate::common::*;

fn next(pokes: &mut BoxStream<'static, Poke>) -> Option<Option<Poke>> {
    pokes.next().now_or_never()
}

fn changed() -> Option<Option<Poke>> {
    Some(Some(Poke::Changed(Some(target().collection))))
}

#[test]
fn ids_are_listed_in_pages_without_the_deleted() {
    let remote = MemoryRemoteStore::new();
    remote.seed(
        &scope("inbox"),
        &target().collection,
        ["c", "a", "d", "b"].map(|name| (id(name), n(1))),
    );
    remote.delete(&key("b"));
    let first = block_on(remote.list_ids(&target(), None, 2)).unwrap();
    assert_eq!(
        first.ids.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        ["a", "c"]
    );
    assert_eq!(first.ids[0].1.as_ref(), remote.state_of(&key("a")).version());
    let rest = block_on(remote.list_ids(&target(), first.next.as_deref(), 2)).unwrap();
    assert_eq!(
        rest.ids.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        ["d"]
    );
    assert_eq!(rest.next, None);
}

#[test]
fn a_search_answers_as_the_query_language_says() {
    let remote = MemoryRemoteStore::new();
    remote.seed(
        &scope("inbox"),
        &target().collection,
        [1, 2, 3].map(|i| (id(&format!("r{i}")), n(i))),
    );
    let spec = QuerySpec::new()
        .filter(Filter::gte("n", 2))
        .order_by(OrderBy::desc("n"));
    let page = block_on(remote.search(&target(), &spec)).unwrap();
    let hits: Vec<_> = page
        .hits
        .iter()
        .map(|(id, hit)| (id.as_str(), hit.version.order()))
        .collect();
    assert_eq!(hits, [("r3", Some(3)), ("r2", Some(2))]);
    assert!(page.server_time.is_some());
}

#[test]
fn a_partial_search_names_what_it_cannot_do() {
    let remote = MemoryRemoteStore::builder()
        .timestamp_profile(Duration::ZERO)
        .build();
    remote.put(&key("a"), n(1));
    let nested = !Filter::eq("n", 1).and(Filter::starts_with("title", "t"));
    let error = block_on(remote.search(&target(), &QuerySpec::new().filter(nested))).unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Unsupported, Some("title"))
    );
    assert!(error.to_string().contains("starts_with"), "{error}");
    let plain = QuerySpec::new().filter(Filter::eq("n", 1));
    assert_eq!(block_on(remote.search(&target(), &plain)).unwrap().hits.len(), 1);
}

#[test]
fn subscribers_hear_of_their_scope_alone() {
    let remote = MemoryRemoteStore::new();
    let mut pokes = block_on(remote.subscribe(&scope("inbox"))).unwrap();
    assert_eq!(next(&mut pokes), Some(Some(Poke::Subscribed)));
    assert_eq!(next(&mut pokes), None);
    let elsewhere = sync_core::Target::new(target().collection, scope("elsewhere"));
    remote.put(&sync_core::RecordKey::new(elsewhere, id("a")), n(1));
    remote.vanish(&key("a"));
    assert_eq!(next(&mut pokes), None);
    applied(&remote, create(1, "a"));
    assert_eq!(next(&mut pokes), changed());
    assert_eq!(outcome(&remote, create(2, "a")).name(), "conflict");
    assert_eq!(next(&mut pokes), None, "nothing changed");
}

#[test]
fn pokes_are_lost_doubled_and_cut_off_on_demand() {
    let remote = MemoryRemoteStore::new();
    let other = remote.another_client();
    let mut pokes = block_on(remote.subscribe(&scope("inbox"))).unwrap();
    let mut others = block_on(other.subscribe(&scope("inbox"))).unwrap();
    assert_eq!(
        (next(&mut pokes), next(&mut others)),
        (Some(Some(Poke::Subscribed)), Some(Some(Poke::Subscribed)))
    );
    for fault in [PokeFault::Lose, PokeFault::Pass, PokeFault::Duplicate] {
        remote.faults().script_poke(fault);
        remote.put(&key("a"), n(1));
    }
    assert_eq!(
        [(); 4].map(|()| next(&mut pokes)),
        [changed(), changed(), changed(), None]
    );
    assert_eq!(
        [(); 4].map(|()| next(&mut others)),
        [changed(), changed(), changed(), None]
    );
    remote.disconnect_subscribers();
    assert_eq!((next(&mut pokes), next(&mut others)), (Some(None), Some(None)));
    let mut again = block_on(remote.subscribe(&scope("inbox"))).unwrap();
    assert_eq!(next(&mut again), Some(Some(Poke::Subscribed)));
}

#[test]
fn a_slow_subscriber_is_poked_for_everything() {
    let remote = MemoryRemoteStore::new();
    let mut pokes = block_on(remote.subscribe(&scope("inbox"))).unwrap();
    assert_eq!(next(&mut pokes), Some(Some(Poke::Subscribed)));
    for _ in 0..1_000 {
        remote.put(&key("a"), n(1));
    }
    assert_eq!(next(&mut pokes), Some(Some(Poke::Changed(None))));
}

#[test]
fn a_vanished_row_is_missing() {
    let remote = MemoryRemoteStore::new();
    remote.put(&key("a"), n(1));
    remote.vanish(&key("a"));
    assert_eq!(
        block_on(remote.get(&target(), &[id("a")])).unwrap(),
        [RemoteState::Missing]
    );
    assert_eq!(
        told(&pull(&remote, None, 10).unwrap()),
        [""; 0],
        "without a tombstone"
    );
}

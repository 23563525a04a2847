//! Live queries: an answer for every real change, and none besides.

use adapter_memory::MemoryRemoteStore;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use sync_core::{
    Payload, ReadAnswer, Result, SyncScope,
    query::{Filter, QuerySpec},
};

use super::world::{Device, Todo, key, scope, todo};

type Answers = BoxStream<'static, Result<ReadAnswer<Todo, String>>>;

/// What is there to be read now: titles, with a mark for those that are pending.
fn news(answers: &mut Answers) -> Option<Vec<String>> {
    let answer = answers
        .next()
        .now_or_never()?
        .expect("the stream goes on")
        .unwrap();
    let title = |todo: &Todo| match answer.pending.contains(&todo.id) {
        true => format!("{} (pending)", todo.title),
        false => todo.title.clone(),
    };
    Some(answer.items.iter().map(title).collect())
}

fn put(remote: &MemoryRemoteStore, id: &str, title: &str) {
    remote.put(&key(id), Payload::encode(&todo(id, title)).unwrap());
}

#[tokio::test]
async fn the_first_answer_comes_at_once_and_one_more_for_every_change() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    let mut answers = device.todos.watch(&scope(), &QuerySpec::new());
    assert_eq!(news(&mut answers), Some(vec![]));
    assert_eq!(news(&mut answers), None);
    device.create("1", "tea").await;
    assert_eq!(news(&mut answers), Some(vec!["tea (pending)".into()]));
    assert_eq!(news(&mut answers), None);
    device.sync().await;
    assert_eq!(
        news(&mut answers),
        Some(vec!["tea".into()]),
        "the confirmation is a change of what is pending"
    );
    put(&remote, "2", "milk");
    put(&remote, "3", "bread");
    device.sync().await;
    let all = vec!["tea".to_owned(), "milk".into(), "bread".into()];
    assert_eq!(
        news(&mut answers),
        Some(all),
        "a pull of several records is one change"
    );
    assert_eq!(news(&mut answers), None);
    device.delete("1").await;
    assert_eq!(news(&mut answers).map(|titles| titles.len()), Some(2));
    device.sync().await;
    assert_eq!(news(&mut answers), None, "a confirmed delete looks as before");
}

#[tokio::test]
async fn syncs_without_changes_and_echoes_of_own_writes_wake_nobody() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    device.create("1", "tea").await;
    device.todos.push_only(&scope()).await.unwrap();
    let mut answers = device.todos.watch(&scope(), &QuerySpec::new());
    assert!(news(&mut answers).is_some());
    device.todos.pull_only(&scope()).await.unwrap();
    assert_eq!(
        news(&mut answers),
        None,
        "an own write that comes back is no change"
    );
    for _ in 0..3 {
        device.sync().await;
        device.todos.full_resync(&scope()).await.unwrap();
    }
    assert_eq!(news(&mut answers), None);
}

#[tokio::test]
async fn only_what_concerns_the_query_is_told() {
    let device = Device::new(&MemoryRemoteStore::new()).await;
    let with_t = QuerySpec::new().filter(Filter::starts_with("title", "t"));
    let mut answers = device.todos.watch(&scope(), &with_t);
    assert_eq!(news(&mut answers), Some(vec![]));
    let other: SyncScope = SyncScope::new("inbox").unwrap().with("user", "u2").unwrap();
    device
        .todos
        .enqueue_create(&other, &todo("1", "tea"))
        .await
        .unwrap();
    assert_eq!(news(&mut answers), None, "another scope");
    device.create("2", "milk").await;
    assert_eq!(
        news(&mut answers),
        None,
        "a record that the query does not select"
    );
    device.rename("2", "tin of milk").await;
    assert_eq!(news(&mut answers), Some(vec!["tin of milk (pending)".into()]));
}

#[tokio::test]
async fn changes_that_come_faster_than_they_are_read_are_told_together() {
    let device = Device::new(&MemoryRemoteStore::new()).await;
    let mut answers = device.todos.watch(&scope(), &QuerySpec::new());
    assert_eq!(news(&mut answers), Some(vec![]));
    for n in 0..5_000 {
        device.create(&format!("{n}"), "tea").await;
    }
    assert_eq!(news(&mut answers).map(|titles| titles.len()), Some(5_000));
    assert_eq!(news(&mut answers), None);
}

#[tokio::test]
async fn an_answer_that_fails_is_an_item_and_the_stream_goes_on() {
    let device = Device::new(&MemoryRemoteStore::new()).await;
    let broken = QuerySpec::new().filter(Filter::eq("", 1));
    let mut answers = device.todos.watch(&scope(), &broken);
    assert!(answers.next().await.unwrap().is_err());
    assert!(answers.next().now_or_never().is_none());
    device.create("1", "tea").await;
    assert!(answers.next().await.unwrap().is_err());
}

#[tokio::test]
async fn stopping_the_engine_ends_the_stream() {
    let device = Device::new(&MemoryRemoteStore::new()).await;
    let mut answers = device.todos.watch(&scope(), &QuerySpec::new());
    assert!(news(&mut answers).is_some());
    let waiting = tokio::spawn(async move { answers.next().await.is_none() });
    tokio::task::yield_now().await;
    device.engine().stop();
    assert!(waiting.await.unwrap());
    let mut late = device.todos.watch(&scope(), &QuerySpec::new());
    assert!(late.next().await.is_none(), "also if it begins afterwards");
}

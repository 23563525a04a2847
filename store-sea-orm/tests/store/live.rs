//! Answers from memory: they are those of the database, whoever wrote.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use adapter_memory::MemoryRemoteStore;
use futures::{StreamExt, stream::BoxStream};
use proptest::prelude::*;
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::{
    CachePolicy, CollectionSchema, LocalRecord, LocalStore, Payload, RawAnswer, ReadOptions, RecordId,
    Result, SyncEngine, View, Write,
    query::{Filter, OrderBy, QuerySpec},
    resolve::LastWriteWins,
};
use tempfile::TempDir;

use super::DRIVER;
use crate::fixtures::{confirm, key, todos};

async fn open(folder: &TempDir) -> SeaOrmLocalStore {
    let options = OpenOptions::file(folder.path().join("store.db")).sqlite_driver(DRIVER);
    SeaOrmLocalStore::open(options).await.unwrap()
}

async fn view(store: &SeaOrmLocalStore, id: &str) -> Option<String> {
    let text = |view: Option<View>| view.map(|view| view.payload.as_str().to_owned());
    let loaded = text(store.load_view(&key(id)).await.unwrap());
    if let Some(at_once) = store.view_at_once(&key(id)) {
        assert_eq!(text(at_once), loaded, "both ways agree");
    }
    loaded
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_read_before_is_read_anew_after_any_commit_to_it() {
    let folder = TempDir::new().unwrap();
    let (mine, theirs) = (open(&folder).await, open(&folder).await);
    assert_eq!(view(&mine, "a").await, None);
    for round in 0..20 {
        let text = format!(r#"{{"n":{round}}}"#);
        let writer = if round % 3 == 0 { &theirs } else { &mine };
        writer.commit(confirm([("a", text.as_str())])).await.unwrap();
        for store in [&mine, &theirs, &mine] {
            assert_eq!(view(store, "a").await.as_ref(), Some(&text), "round {round}");
        }
    }
    let mut removal = sync_core::ChangeSet::at(sync_core::Timestamp::EPOCH);
    removal.removals.push(key("a"));
    theirs.commit(removal).await.unwrap();
    assert_eq!(view(&mine, "a").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_see_a_record_go_back_while_it_is_written() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let readers = (0..3).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut last = -1;
            while last < 399 {
                let found = match store.view_at_once(&key("a")) {
                    Some(found) => found,
                    None => store.load_view(&key("a")).await.unwrap(),
                };
                tokio::task::yield_now().await;
                let Some(View { payload: text, .. }) = found else {
                    continue;
                };
                let payload = text.to_object().unwrap();
                let seen = payload["n"].as_i64().unwrap();
                assert!(seen >= last, "{seen} after {last}");
                last = seen;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for round in 0..400 {
        let text = format!(r#"{{"n":{round}}}"#);
        store.commit(confirm([("a", text.as_str())])).await.unwrap();
        let read = view(&store, "a").await;
        assert_eq!(read, Some(text), "an acknowledged write is seen");
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn states_and_counts_read_before_are_read_anew_after_commits_of_others() {
    let folder = TempDir::new().unwrap();
    let (mine, theirs) = (open(&folder).await, open(&folder).await);
    for round in 1..5 {
        assert_eq!(mine.count_ops(None).await.unwrap().total(), round - 1);
        let number = u128::from(round);
        let writer = if round % 2 == 0 { &mine } else { &theirs };
        let id = format!("r{round}");
        let mut changes = crate::fixtures::enqueue(&id, number, "{}");
        let mut state = mine.load_target(&todos()).await.unwrap();
        state.generation = round;
        changes.targets.push(state);
        writer.commit(changes).await.unwrap();
        for store in [&mine, &theirs] {
            assert_eq!(store.count_ops(None).await.unwrap().total(), round);
            assert_eq!(store.load_target(&todos()).await.unwrap().generation, round);
        }
    }
}

fn specs() -> Vec<QuerySpec> {
    let newest = |limit| {
        QuerySpec::new()
            .filter(Filter::eq("owner", "a").and(Filter::eq("done", false)))
            .order_by(OrderBy::desc("at"))
            .limit(limit)
    };
    vec![
        QuerySpec::new(),
        newest(3),
        newest(50),
        QuerySpec::new().filter(Filter::gt("at", 4)).limit(2),
        QuerySpec::new().order_by(OrderBy::asc("at")).limit(4).offset(1),
    ]
}

/// One step: who writes (0 another process, else this one), and the records with their new content.
type Step = (u8, BTreeMap<u8, Option<(bool, bool, u8)>>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let content = (any::<bool>(), any::<bool>(), 0_u8..8);
    let records = prop::collection::btree_map(0_u8..12, prop::option::weighted(0.8, content), 1..4);
    prop::collection::vec((0_u8..6, records), 1..20)
}

async fn engine(store: &SeaOrmLocalStore) -> SyncEngine {
    let schema = CollectionSchema::untyped("todos", "id")
        .unwrap()
        .with_deleted_at("gone")
        .with_composite_index([OrderBy::asc("owner"), OrderBy::asc("done"), OrderBy::desc("at")]);
    let remote = Arc::new(MemoryRemoteStore::new());
    SyncEngine::builder(Arc::new(store.clone()), remote)
        .register_schema(schema, LastWriteWins)
        .build()
        .await
        .unwrap()
}

async fn write(engine: &SyncEngine, records: &BTreeMap<u8, Option<(bool, bool, u8)>>) {
    let mut writes = Vec::new();
    for (number, content) in records {
        let id = number.to_string();
        let there = engine.get(&key(&id), &offline()).await.unwrap();
        let there = !there.records.is_empty();
        match content {
            Some((mine, done, at)) => {
                let owner = if *mine { "a" } else { "b" };
                let text = format!(r#"{{"id":"{id}","owner":"{owner}","done":{done},"at":{at}}}"#);
                let payload = Payload::parse(text).unwrap();
                writes.push(match there {
                    true => Write::update_raw(key(&id), payload),
                    false => Write::create_raw(key(&id), payload),
                });
            }
            None if there => writes.push(Write::delete_raw(key(&id))),
            None => {}
        }
    }
    engine.write_batch(writes).await.unwrap();
}

fn offline() -> ReadOptions {
    ReadOptions::from(CachePolicy::OfflineOnly)
}

async fn live_answers_agree(steps: Vec<Step>) -> std::result::Result<(), TestCaseError> {
    let folder = TempDir::new().unwrap();
    let (mine, theirs) = (open(&folder).await, open(&folder).await);
    let (here, there) = (engine(&mine).await, engine(&theirs).await);
    let mut live: Vec<(QuerySpec, BoxStream<'static, Result<RawAnswer>>, Vec<LocalRecord>)> = Vec::new();
    for spec in specs() {
        let mut answers = here.watch(&todos(), &spec);
        let first = answers.next().await.unwrap().unwrap();
        live.push((spec, answers, first.records));
    }
    for (who, records) in steps {
        let foreign = who == 0;
        write(if foreign { &there } else { &here }, &records).await;
        if foreign {
            mine.poll_foreign_changes().await.unwrap();
        }
        for (spec, answers, last) in &mut live {
            let fresh = here.query(&todos(), spec, &offline()).await.unwrap().records;
            if *last != fresh {
                let answer = tokio::time::timeout(Duration::from_secs(30), answers.next()).await;
                let answer = answer.expect("a change is told").unwrap().unwrap();
                prop_assert_eq!(&answer.records, &fresh, "{:?}", spec);
                *last = answer.records;
            }
        }
    }
    here.stop();
    there.stop();
    for store in [mine, theirs] {
        store.close().await.unwrap();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn a_live_answer_is_that_of_the_query_after_every_commit(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(live_answers_agree(steps))?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_composite_index_of_a_query_delivers_it_in_order() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let engine = engine(&store).await;
    let numbers: BTreeMap<u8, _> = (0..200).map(|n| (n, Some((n % 2 == 0, n % 3 == 0, n)))).collect();
    write(&engine, &numbers).await;
    let spec = &specs()[1];
    let answer = engine.query(&todos(), spec, &offline()).await.unwrap();
    let ids: Vec<_> = answer.records.into_iter().map(|record| record.id).collect();
    assert_eq!(ids, ["196", "194", "190"].map(|id| RecordId::new(id).unwrap()));
}

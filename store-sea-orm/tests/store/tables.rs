//! Queries that are answered from memory, without an index from values of fields, with one from records that were read
//! before: they see every commit, ours and others'.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use proptest::prelude::*;
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::{
    ChangeSet, CollectionSchema, LocalStore, Payload, RecordId, Timestamp,
    query::{Filter, OrderBy, QuerySpec, count, evaluate, not_marked_deleted},
};
use tempfile::TempDir;

use crate::fixtures::{confirm, enqueue, key, todos};

/// What is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// Values of fields.
    Fields,
    /// Records that an index finds.
    Records,
}

impl Memory {
    async fn open(self, folder: &TempDir, kib: u32) -> SeaOrmLocalStore {
        let options = OpenOptions::file(folder.path().join("store.db"));
        let options = match self {
            Self::Fields => options.query_cache_kib(kib),
            Self::Records => options.record_cache_kib(kib),
        };
        let store = SeaOrmLocalStore::open(options).await.unwrap();
        let schema = CollectionSchema::untyped("todos", "id").unwrap();
        let schema = match self {
            Self::Fields => schema.with_deleted_at("gone"),
            Self::Records => schema
                .with_index("pair")
                .with_composite_index([OrderBy::asc("b"), OrderBy::desc("a")]),
        };
        store.register(&[schema]).await.unwrap();
        store
    }

    /// The records that the app sees of those that are asked for.
    fn visible(self, spec: &QuerySpec) -> QuerySpec {
        match self {
            Self::Fields => spec.clone().filter(not_marked_deleted("gone")),
            Self::Records => spec.clone(),
        }
    }
}

/// What happens to the store, by one of its two users.
#[derive(Clone, Debug)]
enum Step {
    Confirm(bool, Vec<(u8, u8)>),
    Enqueue(bool, u8, u8),
    Remove(bool, u8),
    Ask(bool, QuerySpec),
}

const CONTENTS: [&str; 7] = [
    r#"{"a":1,"b":"x"}"#,
    r#"{"a":2,"b":"x"}"#,
    r#"{"a":2,"b":"y"}"#,
    r#"{"a":null,"b":"y"}"#,
    r#"{"a":[1,"x"],"b":"y"}"#,
    r#"{"a":1,"b":"x","gone":true}"#,
    r#"{"a":1.5,"b":"\u0078","c":{"d":1}}"#,
];

fn step() -> impl Strategy<Value = Step> {
    let filter = prop::sample::select(vec![
        Filter::eq("b", "x"),
        Filter::eq("b", "x").and(Filter::gt("a", 1)),
        Filter::eq("a", 1).or(Filter::contains("a", "x")),
        Filter::is_null("a"),
        Filter::eq("c.d", 1),
    ]);
    let order = prop::sample::select(vec![OrderBy::desc("a"), OrderBy::asc("b"), OrderBy::asc("$id")]);
    let ask =
        (prop::option::of(filter), order, prop::option::of(0..5_u64)).prop_map(|(filter, order, limit)| {
            QuerySpec {
                filter,
                order_by: vec![order, OrderBy::desc("b")],
                limit,
                ..QuerySpec::default()
            }
        });
    // An index answers these alone.
    let short = (prop::sample::select(vec!["x", "y"]), 1..5_u64);
    let short = short.prop_map(|(b, limit)| {
        QuerySpec::new()
            .filter(Filter::eq("b", b))
            .order_by(OrderBy::desc("a"))
            .limit(limit)
    });
    let ask = prop_oneof![ask, short];
    let (id, content) = (0..10_u8, 0..CONTENTS.len() as u8);
    let pairs = prop::collection::vec((id.clone(), content.clone()), 1..4);
    let mine = prop::bool::weighted(0.8);
    prop_oneof![
        3 => (mine, pairs).prop_map(|(mine, pairs)| Step::Confirm(mine, pairs)),
        2 => (mine, id.clone(), content).prop_map(|(mine, id, content)| Step::Enqueue(mine, id, content)),
        1 => (mine, id).prop_map(|(mine, id)| Step::Remove(mine, id)),
        5 => (mine, ask).prop_map(|(mine, ask)| Step::Ask(mine, ask)),
    ]
}

async fn answers_agree(steps: Vec<Step>, memory: Memory, kib: u32) -> Result<(), TestCaseError> {
    let folder = TempDir::new().unwrap();
    let (mine, theirs) = (memory.open(&folder, kib).await, memory.open(&folder, kib).await);
    let of = |is_mine: bool| if is_mine { &mine } else { &theirs };
    let mut records: BTreeMap<RecordId, (Payload, bool)> = BTreeMap::new();
    for (number, step) in (1_u128..).zip(steps) {
        match step {
            Step::Confirm(by, pairs) => {
                let pairs: HashMap<u8, u8> = pairs.into_iter().collect();
                let texts = pairs
                    .iter()
                    .map(|(id, content)| (format!("r{id}"), CONTENTS[usize::from(*content)]));
                let texts: Vec<_> = texts
                    // One with operations would make the page stale.
                    .filter(|(id, _)| records.get(&key(id).id).is_none_or(|(_, pending)| !pending))
                    .collect();
                let page = confirm(texts.iter().map(|(id, text)| (id.as_str(), *text)));
                of(by).commit(page).await.unwrap();
                records.extend(
                    texts
                        .iter()
                        .map(|(id, text)| (key(id).id, (Payload::parse(*text).unwrap(), false))),
                );
            }
            Step::Enqueue(by, id, content) => {
                let (id, text) = (format!("r{id}"), CONTENTS[usize::from(content)]);
                if let Entry::Vacant(place) = records.entry(key(&id).id) {
                    of(by).commit(enqueue(&id, number, text)).await.unwrap();
                    place.insert((Payload::parse(text).unwrap(), true));
                }
            }
            Step::Remove(by, id) => {
                let key = key(&format!("r{id}"));
                if records.get(&key.id).is_some_and(|(_, pending)| !pending) {
                    records.remove(&key.id);
                    let removal = ChangeSet {
                        removals: vec![key],
                        ..ChangeSet::at(Timestamp::EPOCH)
                    };
                    of(by).commit(removal).await.unwrap();
                }
            }
            Step::Ask(by, spec) => {
                let rows = records
                    .iter()
                    .map(|(id, (payload, _))| (id.clone(), payload.clone()));
                let visible = memory.visible(&spec);
                let expected = evaluate(&visible, rows.clone()).unwrap();
                let answer = of(by).query(&todos(), &spec).await.unwrap();
                prop_assert!(answer.iter().all(|found| found.pending == records[&found.id].1));
                let answer: Vec<_> = answer
                    .into_iter()
                    .map(|found| (found.id, found.payload))
                    .collect();
                prop_assert_eq!(answer, expected, "{:?}", spec);
                let counted = of(by).count(&todos(), spec.filter.as_ref()).await.unwrap();
                prop_assert_eq!(counted, count(&visible, rows).unwrap());
            }
        }
    }
    mine.close().await.unwrap();
    theirs.close().await.unwrap();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_right_after_any_commits_of_two_stores(
        steps in prop::collection::vec(step(), 1..60),
        // None, hardly enough, and plenty.
        kib in prop::sample::select(vec![0, 1, 9, 1_024]),
        memory in prop::sample::select(vec![Memory::Fields, Memory::Records]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(answers_agree(steps, memory, kib))?;
    }
}

#[tokio::test]
async fn a_query_of_many_fields_leaves_no_commit_out_of_later_answers() {
    let folder = TempDir::new().unwrap();
    let store = Memory::Fields.open(&folder, 1_024).await;
    store.commit(confirm([("1", r#"{"a":1}"#)])).await.unwrap();
    let few = QuerySpec::new().filter(Filter::eq("a", 1));
    let many = (0..20).map(|number| Filter::eq(format!("field{number}"), 1));
    let many = QuerySpec::new().filter(many.reduce(Filter::or).unwrap());
    for _ in 0..4 {
        assert_eq!(store.query(&todos(), &few).await.unwrap().len(), 1);
    }
    store.commit(confirm([("2", r#"{"a":1}"#)])).await.unwrap();
    assert_eq!(store.query(&todos(), &many).await.unwrap(), []);
    assert_eq!(store.query(&todos(), &few).await.unwrap().len(), 2);
}

/// Confirms two records again and again, with the same number in both; tells the last one that is durable.
async fn write_pairs(store: SeaOrmLocalStore, ids: [&str; 2], durable: &AtomicU64, done: &AtomicBool) {
    let mut number = 0;
    while !done.load(Ordering::Acquire) {
        number += 1;
        let text = format!(r#"{{"n":{number},"pair":true}}"#);
        let page = confirm(ids.map(|id| (id, text.as_str())));
        store.commit(page).await.unwrap();
        durable.store(number, Ordering::Release);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_is_one_state_that_has_all_earlier_commits() {
    let spec = QuerySpec::new()
        .filter(Filter::eq("pair", true))
        .order_by(OrderBy::asc("$id"));
    follow_pairs(Memory::Fields, spec.filter(Filter::gte("n", 0))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn so_is_that_of_an_index_with_contents_from_memory() {
    let spec = QuerySpec::new().filter(Filter::eq("pair", true)).limit(10);
    follow_pairs(Memory::Records, spec).await;
}

/// Asks for pairs of records while they are written.
async fn follow_pairs(memory: Memory, spec: QuerySpec) {
    let folder = TempDir::new().unwrap();
    let mine = memory.open(&folder, 16_384).await;
    let theirs = memory.open(&folder, 16_384).await;
    let others: Vec<_> = (0..2_000).map(|number| format!("other {number}")).collect();
    let rows = others.iter().map(|id| (id.as_str(), r#"{"n":-1}"#));
    let pairs = ["a", "b", "c", "d"].map(|id| (id, r#"{"n":0,"pair":true}"#));
    mine.commit(confirm(rows.chain(pairs))).await.unwrap();

    let state: Arc<([AtomicU64; 2], AtomicBool)> = Arc::default();
    let writer = |store: &SeaOrmLocalStore, ids, place: usize| {
        let (store, state) = (store.clone(), Arc::clone(&state));
        tokio::spawn(async move { write_pairs(store, ids, &state.0[place], &state.1).await })
    };
    // Ours alone at first, so that one table lives long; then those of others between.
    let mut writers = vec![writer(&mine, ["a", "b"], 0)];
    for round in 0..400 {
        if round == 200 {
            writers.push(writer(&theirs, ["c", "d"], 1));
        }
        let before = [0, 1].map(|place: usize| state.0[place].load(Ordering::Acquire));
        let answer = mine.query(&todos(), &spec).await.unwrap();
        let numbers: Vec<u64> = answer
            .iter()
            .map(|found| found.payload.to_object().unwrap()["n"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers.len(), 4, "{answer:?}");
        assert_eq!(
            (numbers[0], numbers[2]),
            (numbers[1], numbers[3]),
            "round {round}: of two states"
        );
        assert!(
            numbers[0] >= before[0] && numbers[2] >= before[1],
            "round {round}: {before:?}, {numbers:?}"
        );
        let top = QuerySpec::new().order_by(OrderBy::desc("n")).limit(1);
        let top = &mine.query(&todos(), &top).await.unwrap()[0];
        let greatest = top.payload.to_object().unwrap()["n"].as_u64().unwrap();
        assert!(
            greatest >= numbers[0].max(numbers[2]),
            "round {round}: not the one that comes first"
        );
    }
    state.1.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
}

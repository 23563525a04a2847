//! How SQLite goes about our statements, and how it reads numbers.

use proptest::prelude::*;
use sync_core::{
    CollectionName, CollectionSchema, LocalStore, Payload, RecordId, SyncScope,
    query::{OrderBy, evaluate},
};

use super::*;
use crate::{OpenOptions, SeaOrmLocalStore};

fn selection(spec: QuerySpec) -> Selection {
    Selection {
        number: 1,
        query: Query::new(&spec).unwrap(),
        spec,
        declared: Arc::default(),
    }
}

pub(crate) async fn plan(store: &SeaOrmLocalStore, statement: Sql) -> String {
    let (text, params) = statement.into_parts();
    let mut sql = Sql::new(Dialect::Sqlite, "EXPLAIN QUERY PLAN ");
    sql.push(&text);
    sql.adopt(params);
    let rows = store.shared().database.reader().rows(sql).await.unwrap();
    rows.iter()
        .map(|row| row.text(3).unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

async fn indexed_store() -> SeaOrmLocalStore {
    let store = SeaOrmLocalStore::open(OpenOptions::memory()).await.unwrap();
    let schema = CollectionSchema::untyped("todos", "id")
        .unwrap()
        .with_index("done")
        .with_index("a.b's \"c\"");
    store.register(&[schema]).await.unwrap();
    store
}

#[tokio::test]
async fn a_declared_index_serves_comparisons_of_its_field() {
    let store = indexed_store().await;
    for filter in [
        Filter::eq("done", false),
        Filter::eq("done", 3),
        Filter::eq("done", "x").and(Filter::gt("other", 1)),
        Filter::compare(
            "done",
            sync_core::query::Comparison::InList(vec!["x".into(), "y".into()]),
        ),
        Filter::eq("a.b's \"c\"", "x"),
    ] {
        let spec = QuerySpec::new().filter(filter);
        let plan = plan(
            &store,
            selection(spec.clone())
                .statements()
                .rows_sql(Dialect::Sqlite)
                .unwrap(),
        )
        .await;
        assert!(plan.contains("USING INDEX sync_index"), "{spec:?}\n{plan}");
    }
}

#[tokio::test]
async fn other_fields_are_searched_within_the_target_alone() {
    let store = indexed_store().await;
    let spec = QuerySpec::new().filter(Filter::eq("other", 1));
    let plan = plan(
        &store,
        selection(spec).statements().rows_sql(Dialect::Sqlite).unwrap(),
    )
    .await;
    assert!(
        plan.contains("SEARCH r USING INDEX sync_records_key (target_id=?)"),
        "{plan}"
    );
    assert!(!plan.contains("TEMP B-TREE"), "ordered by the index\n{plan}");
}

#[tokio::test]
async fn a_filter_of_the_largest_size_is_answered() {
    let store = indexed_store().await;
    let target = Target::new(
        CollectionName::new("todos").unwrap(),
        SyncScope::new("s").unwrap(),
    );
    let change = crate::commit::tests::confirm(&target, &[("a", r#"{"n":998}"#), ("b", r#"{"n":5000}"#)]);
    store.commit(change).await.unwrap();
    let parts = (0..999).map(|n| Filter::eq("n", n)).collect();
    assert_eq!(store.count(&target, Some(&Filter::Or(parts))).await.unwrap(), 1);
    let values = (0..10_000_i64).map(Into::into).collect();
    let list = Filter::compare("n", sync_core::query::Comparison::InList(values));
    assert_eq!(store.count(&target, Some(&list)).await.unwrap(), 2);
}

/// Decimal numbers of many shapes, most of them regular.
fn decimal() -> impl Strategy<Value = String> {
    prop_oneof![
        (
            "-?",
            "0|[1-9][0-9]{0,16}",
            "(\\.[0-9]{1,19})?",
            "([eE][+-]?[0-9]{1,2})?"
        )
            .prop_map(|(sign, whole, fraction, exponent)| format!("{sign}{whole}{fraction}{exponent}")),
        any::<f64>()
            .prop_filter("JSON has no others", |float| float.is_finite())
            .prop_map(|float| float.to_string()),
        (any::<u64>(), -25_i32..25).prop_map(|(digits, power)| format!("{}e{power}", digits >> 8)),
        (0.0_f64..1.0).prop_map(|float| serde_json::to_string(&float).unwrap()),
        (-1e28_f64..1e28).prop_map(|float| serde_json::to_string(&float).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_reads_regular_numbers_exactly(numbers in prop::collection::vec(decimal(), 200)) {
        let regular: Vec<_> = numbers.into_iter().filter(|text| is_regular(&format!("[{text}]"))).collect();
        prop_assert!(regular.len() > 20, "most numbers are regular");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let texts = runtime.block_on(async {
            let store = SeaOrmLocalStore::open(OpenOptions::memory()).await.unwrap();
            let mut wrong = Vec::new();
            for text in &regular {
                let mut sql = Sql::new(Dialect::Sqlite, "SELECT json_extract(");
                sql.bind(format!("[{text}]")).push(", '$[0]') = ");
                match text.parse::<i64>() {
                    Ok(integer) => sql.bind(integer),
                    Err(_) => sql.bind(text.parse::<f64>().unwrap()),
                };
                if !store.shared().database.reader().row(sql).await.unwrap().unwrap().flag(0).unwrap() {
                    wrong.push(text.clone());
                }
            }
            wrong
        });
        prop_assert!(texts.is_empty(), "{texts:?}");
    }
}

#[tokio::test]
async fn payloads_that_sql_would_misread_are_answered_by_the_reference() {
    let store = indexed_store().await;
    let target = Target::new(
        CollectionName::new("todos").unwrap(),
        SyncScope::new("s").unwrap(),
    );
    let rows = [
        ("nul", r#"{"done":"a\u0000b"}"#),
        ("huge", r#"{"done":123456789012345678901234567890}"#),
        ("tiny", r#"{"done":5e-324}"#),
        ("long", r#"{"done":0.1000000000000000055511151231257827}"#),
        ("plain", r#"{"done":0.1}"#),
    ];
    store
        .commit(crate::commit::tests::confirm(&target, &rows))
        .await
        .unwrap();
    let reference: Vec<_> = rows
        .iter()
        .map(|(id, text)| (RecordId::new(*id).unwrap(), Payload::parse(*text).unwrap()))
        .collect();
    let like =
        |pattern: &str| Filter::compare("done", sync_core::query::Comparison::Like(pattern.to_owned()));
    for filter in [
        Filter::eq("done", 1),
        Filter::eq("done", "a\0b"),
        like("a_b"),
        like("a%"),
        Filter::eq("done", 0.1),
        Filter::eq("done", 5e-324),
        Filter::gt("done", 1e29),
    ] {
        let spec = QuerySpec::new().filter(filter).order_by(OrderBy::desc("done"));
        let expected: Vec<_> = evaluate(&spec, reference.clone())
            .unwrap()
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let answer: Vec<_> = store
            .query(&target, &spec)
            .await
            .unwrap()
            .into_iter()
            .map(|record| record.id)
            .collect();
        assert_eq!(answer, expected, "{spec:?}");
        let counted = store.count(&target, spec.filter.as_ref()).await.unwrap();
        assert_eq!(counted, expected.len() as u64, "{spec:?}");
    }
}

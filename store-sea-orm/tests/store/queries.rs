//! Queries with values that databases disagree about: SQLite answers as the reference evaluator does.

use proptest::prelude::*;
use store_sea_orm::{OpenOptions, SeaOrmLocalStore, SqliteDriver};
use sync_core::{
    CollectionSchema, LocalStore, Payload, RecordId,
    query::{Comparison, Filter, FilterValue, OrderBy, QuerySpec, count, evaluate, not_marked_deleted},
};

use crate::fixtures::{confirm, todos};

const DRIVERS: &[SqliteDriver] = &[
    #[cfg(feature = "rusqlite")]
    SqliteDriver::Direct,
    SqliteDriver::Sqlx,
];

/// JSON texts for the fields. Some make SQL misread the record, so that it must not be asked.
fn json_value() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "1.0",
        "-0.0",
        "0.1",
        "0.30000000000000004",
        "1e2",
        "\"\"",
        "\"a\"",
        "\"A\"",
        "\"ab\"",
        "\"a%\"",
        "\"a*\"",
        "\"[a]\"",
        "\"1\"",
        "\"true\"",
        "\"null\"",
        "\"\\u00e9\"",
        "\"e\\u0301\"",
        "\"\\ud83d\\ude00\"",
        "\"a\\nb\"",
        "\"it's\"",
        "\"\\\"\"",
        "\"\\\\\"",
        "[]",
        "[1,\"a\",null,true]",
        "[[1]]",
        "[0.1,\"a%\"]",
        "{}",
        "{\"b\":1}",
        "{\"b\":\"a\"}",
        "{\"b\":null}",
        "{\"b\":{\"c\":true}}",
        "9007199254740993",
        "9007199254740992.0",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551615",
    ]);
    let misread = prop::sample::select(vec![
        "\"a\\u0000b\"",
        "5e-324",
        "1e300",
        "0.1000000000000000055511151231257827",
    ]);
    prop_oneof![60 => plain, 1 => misread].prop_map(str::to_owned)
}

const FIELDS: [&str; 5] = ["a", "a.b", "a.b.c", "it's", "$id"];

fn operand() -> impl Strategy<Value = FilterValue> {
    prop_oneof![
        Just(FilterValue::Null),
        any::<bool>().prop_map(FilterValue::Bool),
        prop::sample::select(vec![0, 1, -1, 100, 9_007_199_254_740_993, i64::MAX, i64::MIN])
            .prop_map(FilterValue::Int),
        prop::sample::select(vec![
            0.1,
            1.0,
            -0.0,
            0.1 + 0.2,
            5e-324,
            9_007_199_254_740_992.0,
            1.8446744073709552e19
        ])
        .prop_map(FilterValue::Float),
        prop::sample::select(vec![
            "",
            "a",
            "A",
            "a%",
            "*",
            "[a]",
            "1",
            "\u{e9}",
            "\u{1f600}",
            "a\0b",
            "\0",
            "r1",
            "it's"
        ])
        .prop_map(FilterValue::from),
    ]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    let pattern = prop::sample::select(vec![
        "", "%", "_", "a%", "%b", "a_b", "a\\%", "[a]", "*", "?", "%\u{301}", "r_",
    ]);
    prop_oneof![
        operand().prop_map(Comparison::Eq),
        operand().prop_map(Comparison::Neq),
        operand().prop_map(Comparison::Gt),
        operand().prop_map(Comparison::Gte),
        operand().prop_map(Comparison::Lt),
        operand().prop_map(Comparison::Lte),
        operand().prop_map(Comparison::Contains),
        pattern.prop_map(|pattern| Comparison::Like(pattern.to_owned())),
        prop::sample::select(vec!["", "a", "\u{10ffff}", "\0", "r"])
            .prop_map(|text| Comparison::StartsWith(text.to_owned())),
        Just(Comparison::IsNull),
        Just(Comparison::IsNotNull),
        prop::collection::vec(operand(), 0..4).prop_map(Comparison::InList),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let leaf = (prop::sample::select(FIELDS.to_vec()), comparison())
        .prop_map(|(field, comparison)| Filter::compare(field, comparison));
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn spec() -> impl Strategy<Value = QuerySpec> {
    let order = prop::collection::vec((prop::sample::select(FIELDS.to_vec()), any::<bool>()), 0..3);
    (
        prop::option::of(filter()),
        order,
        prop::option::of(0_u64..8),
        prop::option::of(0_u64..4),
    )
        .prop_map(|(filter, order, limit, offset)| QuerySpec {
            filter,
            order_by: order
                .into_iter()
                .map(|(field, descending)| {
                    if descending {
                        OrderBy::desc(field)
                    } else {
                        OrderBy::asc(field)
                    }
                })
                .collect(),
            limit,
            offset,
            after: None,
        })
}

/// A record: `a`, `it's` and the delete mark, each of which may be missing.
fn record() -> impl Strategy<Value = String> {
    let field = || prop::option::weighted(0.9, json_value());
    let mark = prop::option::weighted(
        0.2,
        prop::sample::select(vec!["null", "false", "\"\"", "true", "0", "\"x\"", "[]"]),
    );
    (field(), field(), mark).prop_map(|(a, its, mark)| {
        let mark = mark.map(str::to_owned);
        let fields = [("a", a), ("it's", its), ("gone", mark)];
        let fields: Vec<_> = fields
            .into_iter()
            .filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?)))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

async fn answers_agree(
    options: OpenOptions,
    rows: &[String],
    specs: &[QuerySpec],
) -> Result<(), TestCaseError> {
    let store = SeaOrmLocalStore::open(options).await.unwrap();
    let schema = CollectionSchema::untyped("todos", "id")
        .unwrap()
        .with_deleted_at("gone")
        .with_index("a")
        .with_composite_index([OrderBy::asc("a"), OrderBy::desc("it's")])
        .with_composite_index([OrderBy::asc("it's"), OrderBy::asc("$id"), OrderBy::asc("a.b")]);
    store.register(&[schema.with_index("it's")]).await.unwrap();
    let ids: Vec<_> = (0..rows.len()).map(|number| format!("r{number}")).collect();
    let pairs = || {
        ids.iter()
            .map(String::as_str)
            .zip(rows.iter().map(String::as_str))
    };
    store.commit(confirm(pairs())).await.unwrap();
    let reference: Vec<_> = pairs()
        .map(|(id, text)| (RecordId::new(id).unwrap(), Payload::parse(text).unwrap()))
        .collect();
    for spec in specs.iter().cloned() {
        let visible = spec.clone().filter(not_marked_deleted("gone"));
        let expected = evaluate(&visible, reference.clone()).unwrap();
        let answer = store.query(&todos(), &spec).await.unwrap();
        let answer: Vec<_> = answer
            .into_iter()
            .map(|record| (record.id, record.payload))
            .collect();
        prop_assert_eq!(&answer, &expected, "{:?}", spec);
        let counted = store.count(&todos(), spec.filter.as_ref()).await.unwrap();
        prop_assert_eq!(
            counted,
            count(&visible, reference.clone()).unwrap(),
            "count of {:?}",
            spec
        );
        // Going on after each record of the answer gives the rest of it.
        let endless = QuerySpec {
            limit: None,
            offset: None,
            ..spec
        };
        let all = evaluate(
            &endless.clone().filter(not_marked_deleted("gone")),
            reference.clone(),
        )
        .unwrap();
        for (place, (id, payload)) in all.iter().enumerate().step_by(3) {
            let page = endless.clone().after(endless.keyset_after(id, payload).unwrap());
            let answer = store.query(&todos(), &page).await.unwrap();
            let answer: Vec<_> = answer.into_iter().map(|record| record.id).collect();
            let rest: Vec<_> = all[place + 1..].iter().map(|(id, _)| id.clone()).collect();
            prop_assert_eq!(answer, rest, "{:?}", page);
        }
    }
    store.close().await.unwrap();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_answers_as_the_reference_evaluator(
        rows in prop::collection::vec(record(), 1..12),
        specs in prop::collection::vec(spec(), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for driver in DRIVERS {
            let options = OpenOptions::memory().sqlite_driver(*driver);
            runtime.block_on(answers_agree(options, &rows, &specs))?;
        }
    }
}

//! One test for each rule of the module documentation.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{error::ErrorKind, id::RecordId, payload::Payload};

/// Whether the filter holds for a record `r1` whose field `f` has the value.
fn holds(filter: Filter, value: Value) -> bool {
    let payload = Payload::encode(&json!({ "f": value })).unwrap();
    filter
        .matches(&RecordId::new("r1").unwrap(), &payload.to_object().unwrap())
        .unwrap()
}

fn holds_without_field(filter: Filter) -> bool {
    filter
        .matches(&RecordId::new("r1").unwrap(), &crate::JsonObject::new())
        .unwrap()
}

fn rows(payloads: &[(&str, &str)]) -> Vec<(RecordId, Payload)> {
    payloads
        .iter()
        .map(|(id, text)| (RecordId::new(*id).unwrap(), Payload::parse(*text).unwrap()))
        .collect()
}

fn ids(found: Vec<(RecordId, Payload)>) -> Vec<String> {
    found.into_iter().map(|(id, _)| id.to_string()).collect()
}

/// One value of each kind and of each interesting size.
fn samples() -> Vec<Value> {
    vec![
        json!(null),
        json!(false),
        json!(true),
        json!(0),
        json!(1),
        json!(1.5),
        json!(-3),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(""),
        json!("1"),
        json!("tea"),
        json!([]),
        json!([1, null, "tea", [2], {"a": 1}]),
        json!({}),
        json!({"a": 1}),
    ]
}

fn operands() -> Vec<FilterValue> {
    vec![
        FilterValue::Null,
        false.into(),
        true.into(),
        0.into(),
        1.into(),
        1.0.into(),
        1.5.into(),
        i64::MAX.into(),
        "".into(),
        "1".into(),
        "tea".into(),
    ]
}

#[test]
fn eq_needs_the_same_kind_and_value() {
    assert!(holds(Filter::eq("f", true), json!(true)));
    assert!(holds(Filter::eq("f", "tea"), json!("tea")));
    assert!(!holds(Filter::eq("f", "tea"), json!("Tea")));
    assert!(!holds(Filter::eq("f", 1), json!("1")));
    assert!(!holds(Filter::eq("f", 1), json!(true)));
    assert!(!holds(Filter::eq("f", 0), json!(false)));
    assert!(!holds(Filter::eq("f", ""), json!(null)));
    assert!(!holds(Filter::eq("f", false), json!(null)));
    assert!(
        !holds(Filter::eq("f", "\u{e9}"), json!("e\u{301}")),
        "nothing is normalised"
    );
}

#[test]
fn numbers_are_equal_by_exact_value() {
    assert!(holds(Filter::eq("f", 1), json!(1.0)));
    assert!(holds(Filter::eq("f", 1.0), json!(1)));
    assert!(holds(Filter::eq("f", 0), json!(-0.0)));
    assert!(holds(Filter::eq("f", -0.0), json!(0.0)));
    assert!(holds(Filter::eq("f", 0.1), json!(0.1)));
    assert!(!holds(Filter::eq("f", 0.1 + 0.2), json!(0.3)));
    let two_to_53_and_one = (1_i64 << 53) + 1;
    assert!(!holds(
        Filter::eq("f", two_to_53_and_one),
        json!(9_007_199_254_740_992.0)
    ));
    assert!(holds(
        Filter::gt("f", 9_007_199_254_740_992.0),
        json!(two_to_53_and_one)
    ));
    let two_to_63: Value = serde_json::from_str("9.223372036854775807e18").unwrap();
    assert!(!holds(Filter::eq("f", i64::MAX), two_to_63.clone()));
    assert!(holds(Filter::gt("f", i64::MAX), two_to_63));
    assert!(holds(
        Filter::eq("f", i64::MIN),
        json!(-9_223_372_036_854_775_808.0)
    ));
}

#[test]
fn integers_beyond_64_bits_are_floats() {
    let fields = |text: &str| Payload::parse(text).unwrap().to_object().unwrap();
    let id = RecordId::new("r1").unwrap();
    let beyond = fields(r#"{"f":9223372036854775808}"#);
    assert!(
        Filter::eq("f", 9_223_372_036_854_775_808.0)
            .matches(&id, &beyond)
            .unwrap()
    );
    assert!(
        Filter::eq("f", 9_223_372_036_854_775_808_u64)
            .matches(&id, &beyond)
            .unwrap()
    );
    assert!(!Filter::eq("f", i64::MAX).matches(&id, &beyond).unwrap());
    let far_beyond = fields(r#"{"f":100000000000000000000000000000000000000000}"#);
    assert!(Filter::eq("f", 1e41).matches(&id, &far_beyond).unwrap());
}

#[test]
fn missing_and_null_are_the_same_to_every_filter() {
    for operand in operands() {
        let text = || "tea".to_owned();
        for comparison in [
            Comparison::Eq(operand.clone()),
            Comparison::Neq(operand.clone()),
            Comparison::Gt(operand.clone()),
            Comparison::Gte(operand.clone()),
            Comparison::Lt(operand.clone()),
            Comparison::Lte(operand.clone()),
            Comparison::Like(text()),
            Comparison::Contains(operand.clone()),
            Comparison::StartsWith(text()),
            Comparison::IsNull,
            Comparison::IsNotNull,
            Comparison::InList(vec![operand.clone()]),
        ] {
            let filter = Filter::compare("f", comparison);
            let missing = holds_without_field(filter.clone());
            assert_eq!(holds(filter.clone(), json!(null)), missing, "{filter:?}");
            let deeper = Filter::compare("f.x", comparison_of(&filter));
            assert_eq!(
                holds(deeper, json!([{"x": "tea"}])),
                missing,
                "{filter:?} below an array"
            );
        }
    }
    assert!(holds_without_field(Filter::eq("f", FilterValue::Null)));
    assert!(holds_without_field(Filter::is_null("f")));
    assert!(!holds_without_field(Filter::is_not_null("f")));
    assert!(holds_without_field(Filter::neq("f", 1)));
    assert!(!holds_without_field(Filter::neq("f", FilterValue::Null)));
}

fn comparison_of(filter: &Filter) -> Comparison {
    match filter {
        Filter::Compare { comparison, .. } => comparison.clone(),
        other => panic!("{other:?} is not a comparison"),
    }
}

#[test]
fn neq_and_not_are_exact_negations() {
    for value in samples() {
        for operand in operands() {
            let equal = holds(Filter::eq("f", operand.clone()), value.clone());
            assert_eq!(
                holds(Filter::neq("f", operand.clone()), value.clone()),
                !equal,
                "{value} {operand:?}"
            );
            assert_eq!(
                holds(!Filter::eq("f", operand.clone()), value.clone()),
                !equal,
                "{value} {operand:?}"
            );
            let greater = Filter::gt("f", operand.clone());
            assert_ne!(
                holds(greater.clone(), value.clone()),
                holds(!greater, value.clone())
            );
        }
        assert_ne!(
            holds(Filter::is_null("f"), value.clone()),
            holds(Filter::is_not_null("f"), value)
        );
    }
}

#[test]
fn ordering_operators_compare_only_within_a_kind() {
    assert!(holds(Filter::gt("f", false), json!(true)));
    assert!(holds(Filter::lt("f", 1.5), json!(1)));
    assert!(holds(Filter::gte("f", 1), json!(1.0)) && holds(Filter::lte("f", 1), json!(1.0)));
    assert!(
        holds(Filter::gt("f", "Z"), json!("a")),
        "by bytes: upper case first"
    );
    assert!(
        holds(Filter::gt("f", "\u{FFFF}"), json!("\u{1F600}")),
        "by scalar values, not by UTF-16 units"
    );
    for value in samples() {
        for operand in operands() {
            let same_kind = matches!(
                (&value, &operand),
                (Value::Bool(_), FilterValue::Bool(_))
                    | (Value::Number(_), FilterValue::Int(_) | FilterValue::Float(_))
                    | (Value::String(_), FilterValue::Text(_))
            );
            let count = |filters: [Filter; 3]| {
                filters
                    .into_iter()
                    .filter(|f| holds(f.clone(), value.clone()))
                    .count()
            };
            let strict = count([
                Filter::lt("f", operand.clone()),
                Filter::eq("f", operand.clone()),
                Filter::gt("f", operand.clone()),
            ]);
            if same_kind {
                assert_eq!(
                    strict, 1,
                    "{value} is less than, equal to or greater than {operand:?}"
                );
            } else {
                let both = Filter::lt("f", operand.clone()).or(Filter::gt("f", operand.clone()));
                let or_equal = Filter::lte("f", operand.clone()).or(Filter::gte("f", operand.clone()));
                assert!(!holds(both.or(or_equal), value.clone()), "{value} {operand:?}");
            }
        }
    }
}

#[test]
fn arrays_and_objects_equal_nothing() {
    for value in [json!([]), json!({}), json!([1]), json!({"a": 1})] {
        for operand in operands() {
            assert!(!holds(Filter::eq("f", operand.clone()), value.clone()));
            assert!(!holds(Filter::in_list("f", [operand]), value.clone()));
        }
        assert!(holds(Filter::is_not_null("f"), value));
    }
}

#[test]
fn text_operators_see_only_texts() {
    for value in [
        json!(null),
        json!(true),
        json!(1),
        json!(["%"]),
        json!({"a": "tea"}),
    ] {
        assert!(!holds(Filter::like("f", "%"), value.clone()), "{value}");
        assert!(!holds(Filter::starts_with("f", ""), value.clone()), "{value}");
        assert!(!holds(Filter::contains("f", ""), value.clone()), "{value}");
    }
    assert!(holds(Filter::like("f", "t_a"), json!("tea")));
    assert!(holds(Filter::like("f", "_"), json!("\u{1F600}")));
    assert!(!holds(Filter::like("f", "TEA"), json!("tea")));
    assert!(holds(Filter::starts_with("f", "te"), json!("tea")));
    assert!(!holds(Filter::starts_with("f", "Te"), json!("tea")));
    assert!(
        holds(Filter::starts_with("f", "%"), json!("%x"))
            && !holds(Filter::starts_with("f", "%"), json!("x"))
    );
    assert!(holds(Filter::starts_with("f", ""), json!("")));
}

#[test]
fn contains_finds_text_in_a_text_and_elements_in_an_array() {
    assert!(holds(Filter::contains("f", "e"), json!("tea")));
    assert!(holds(Filter::contains("f", ""), json!("")) && holds(Filter::contains("f", ""), json!("tea")));
    assert!(!holds(Filter::contains("f", "_"), json!("tea")), "no wildcards");
    assert!(
        !holds(Filter::contains("f", 1), json!("1")),
        "a number is not inside a text"
    );
    let array = || json!([1, null, "tea", [2], {"a": 3}, false]);
    for (inside, operand) in [
        (true, FilterValue::Null),
        (true, 1.0.into()),
        (true, "tea".into()),
        (true, false.into()),
        (false, "te".into()),
        (false, "1".into()),
        (false, true.into()),
        (false, 2.into()),
        (false, 3.into()),
    ] {
        assert_eq!(
            holds(Filter::contains("f", operand.clone()), array()),
            inside,
            "{operand:?}"
        );
    }
    assert!(!holds(Filter::contains("f", FilterValue::Null), json!([])));
    assert!(!holds(Filter::contains("f", "a"), json!({"a": 1})));
    assert!(!holds_without_field(Filter::contains("f", FilterValue::Null)));
}

#[test]
fn in_list_is_eq_to_one_of_the_values() {
    assert!(holds(Filter::in_list("f", [1, 2]), json!(2.0)));
    assert!(!holds(Filter::in_list("f", [1, 2]), json!(3)));
    assert!(!holds(Filter::in_list("f", Vec::<i64>::new()), json!(1)));
    assert!(!holds_without_field(Filter::in_list("f", Vec::<i64>::new())));
    assert!(holds_without_field(Filter::in_list(
        "f",
        [FilterValue::Null, 1.into()]
    )));
    assert!(!holds_without_field(Filter::in_list("f", [1])));
}

#[test]
fn and_or_not_have_two_values() {
    let [yes, no] = [
        Filter::eq("f", 1),
        Filter::gt("f", "missing kinds are false, not unknown"),
    ];
    assert!(holds(yes.clone().and(!no.clone()), json!(1)));
    assert!(!holds(yes.clone().and(no.clone()), json!(1)));
    assert!(holds(no.clone().or(yes), json!(1)));
    assert!(!holds(no.clone().or(no), json!(1)));
    assert!(holds(Filter::And(vec![]), json!(1)) && !holds(Filter::Or(vec![]), json!(1)));
}

#[test]
fn paths_reach_into_objects_and_the_id_has_a_name() {
    assert!(holds(Filter::eq("f.a.b", 1), json!({"a": {"b": 1}})));
    assert!(holds(Filter::is_null("f.a.b"), json!({"a": 1})));
    assert!(holds(Filter::is_null("f.0"), json!([1])));
    assert!(holds(Filter::eq("$id", "r1"), json!(1)) && holds(Filter::starts_with("$id", "r"), json!(1)));
    assert!(!holds(Filter::is_null("$id"), json!(1)));
}

#[test]
fn the_order_puts_kinds_one_after_the_other() {
    let table = rows(&[
        ("k", r#"{"f":{}}"#),
        ("j", r#"{"f":["x"]}"#),
        ("i", r#"{"f":"\uD83D\uDE00"}"#),
        ("h", r#"{"f":"a"}"#),
        ("g", r#"{"f":"Z"}"#),
        ("f", r#"{"f":9007199254740993}"#),
        ("e", r#"{"f":9007199254740992.0}"#),
        ("d", r#"{"f":-5}"#),
        ("c", r#"{"f":true}"#),
        ("b", r#"{"f":false}"#),
        ("a2", r#"{"f":null}"#),
        ("a1", "{}"),
    ]);
    let ascending = evaluate(&QuerySpec::new().order_by(OrderBy::asc("f")), table.clone()).unwrap();
    assert_eq!(
        ids(ascending),
        ["a1", "a2", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]
    );
    let descending = evaluate(&QuerySpec::new().order_by(OrderBy::desc("f")), table).unwrap();
    assert_eq!(
        ids(descending),
        ["j", "k", "i", "h", "g", "f", "e", "d", "c", "b", "a1", "a2"],
        "equal values stay ordered by ascending id"
    );
}

#[test]
fn the_id_breaks_ties_by_bytes_unless_it_is_ordered_by_itself() {
    let table = rows(&[("b", "{}"), ("B", "{}"), ("a", "{}"), ("10", "{}"), ("9", "{}")]);
    let by_id = evaluate(&QuerySpec::new(), table.clone()).unwrap();
    assert_eq!(ids(by_id), ["10", "9", "B", "a", "b"]);
    let spec = QuerySpec::new().order_by(OrderBy::desc("$id"));
    assert_eq!(ids(evaluate(&spec, table).unwrap()), ["b", "a", "B", "9", "10"]);
}

#[test]
fn several_order_fields_apply_in_turn() {
    let table = rows(&[
        ("a", r#"{"p":1,"q":{"r":1}}"#),
        ("b", r#"{"p":1,"q":{"r":2}}"#),
        ("c", r#"{"p":2}"#),
        ("d", r#"{"p":1.0,"q":{"r":2.0}}"#),
    ]);
    let spec = QuerySpec::new()
        .order_by(OrderBy::asc("p"))
        .order_by(OrderBy::desc("q.r"));
    assert_eq!(ids(evaluate(&spec, table).unwrap()), ["b", "d", "a", "c"]);
}

#[test]
fn offset_comes_before_limit_and_count_ignores_both() {
    let table = rows(&[
        ("d", r#"{"x":1}"#),
        ("c", r#"{"x":1}"#),
        ("b", r#"{"x":1}"#),
        ("a", "{}"),
    ]);
    let spec = QuerySpec::new().filter(Filter::eq("x", 1));
    let page = |spec: QuerySpec| ids(evaluate(&spec, table.clone()).unwrap());
    assert_eq!(page(spec.clone().offset(1).limit(1)), ["c"]);
    assert_eq!(page(spec.clone().offset(2)), ["d"]);
    assert_eq!(
        page(spec.clone().offset(u64::MAX).limit(u64::MAX)),
        Vec::<String>::new()
    );
    assert_eq!(page(spec.clone().limit(0)), Vec::<String>::new());
    assert_eq!(count(&spec.offset(1).limit(0), table).unwrap(), 3);
}

#[test]
fn a_keyset_needs_no_living_record() {
    let spec = QuerySpec::new().order_by(OrderBy::desc("n"));
    let gone = RecordId::new("b").unwrap();
    let keyset = spec
        .keyset_after(&gone, &Payload::parse(r#"{"n":2}"#).unwrap())
        .unwrap();
    let table = rows(&[
        ("a", r#"{"n":2}"#),
        ("c", r#"{"n":2}"#),
        ("d", r#"{"n":3}"#),
        ("e", "{}"),
    ]);
    assert_eq!(ids(evaluate(&spec.after(keyset), table).unwrap()), ["c", "e"]);
}

#[test]
fn a_damaged_row_and_an_invalid_query_are_errors() {
    let damaged = vec![(RecordId::new("r7").unwrap(), Payload::from_stored("{"))];
    let error = evaluate(&QuerySpec::new(), damaged.clone()).unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Malformed, Some("payload of r7"))
    );
    assert_eq!(
        count(&QuerySpec::new(), damaged).unwrap_err().kind(),
        ErrorKind::Malformed
    );
    let invalid = QuerySpec::new().filter(Filter::eq("a.", 1));
    assert_eq!(
        evaluate(&invalid, rows(&[])).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(count(&invalid, rows(&[])).unwrap_err().kind(), ErrorKind::Invalid);
}

fn any_value() -> impl Strategy<Value = Option<Value>> {
    let mut values: Vec<Option<Value>> = samples().into_iter().map(Some).collect();
    values.extend([
        None,
        Some(json!(1.0)),
        Some(json!(9_007_199_254_740_993_i64)),
        Some(json!(9.007199254740992e15)),
    ]);
    prop::sample::select(values)
}

fn any_table() -> impl Strategy<Value = Vec<(RecordId, Payload)>> {
    let row = (any_value(), any_value());
    prop::collection::btree_map("[a-c]{1,3}", row, 0..20).prop_map(|table| {
        let rows = table.into_iter().map(|(id, (p, q))| {
            let fields = [("p", p), ("q", q)]
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)));
            (
                RecordId::new(id).unwrap(),
                Payload::from_object(&fields.collect()),
            )
        });
        rows.collect()
    })
}

fn any_order() -> impl Strategy<Value = Vec<OrderBy>> {
    let field = prop::sample::select(vec!["p", "q", "q.a", "$id"]);
    let by = (field, any::<bool>()).prop_map(|(field, descending)| OrderBy {
        field: field.into(),
        descending,
    });
    prop::collection::vec(by, 0..4)
}

proptest! {
    #[test]
    fn paging_by_keyset_and_by_offset_give_the_whole_order(
        table in any_table(), order_by in any_order(), page in 1_u64..5, filtered in any::<bool>(),
    ) {
        let filter = filtered.then(|| Filter::is_not_null("p"));
        let spec = QuerySpec { filter, order_by, ..QuerySpec::new() };
        let whole = evaluate(&spec, table.clone()).unwrap();
        prop_assert_eq!(whole.len() as u64, count(&spec, table.clone()).unwrap());

        let mut by_offset = Vec::new();
        while by_offset.len() < whole.len() {
            let next = spec.clone().offset(by_offset.len() as u64).limit(page);
            by_offset.extend(evaluate(&next, table.clone()).unwrap());
        }
        prop_assert_eq!(&by_offset, &whole);

        let mut by_keyset: Vec<(RecordId, Payload)> = Vec::new();
        let mut next = spec.clone().limit(page);
        loop {
            let found = evaluate(&next, table.clone()).unwrap();
            let Some((id, payload)) = found.last() else { break };
            let keyset = spec.keyset_after(id, payload).unwrap();
            // As an app may keep it between two pages.
            let keyset = serde_json::from_str(&serde_json::to_string(&keyset).unwrap()).unwrap();
            next = spec.clone().limit(page).after(keyset);
            by_keyset.extend(found);
            prop_assert!(by_keyset.len() <= whole.len());
        }
        prop_assert_eq!(&by_keyset, &whole);
    }

    #[test]
    fn the_answer_does_not_depend_on_the_order_of_the_rows(
        table in any_table().prop_flat_map(|table| (Just(table.clone()), Just(table).prop_shuffle())),
        order_by in any_order(),
    ) {
        let spec = QuerySpec { order_by, ..QuerySpec::new() };
        prop_assert_eq!(evaluate(&spec, table.0).unwrap(), evaluate(&spec, table.1).unwrap());
    }

    #[test]
    fn the_order_agrees_with_the_filters(value in any_value(), operand in prop::sample::select(operands())) {
        let Some(value) = value else { return Ok(()) };
        let query = Query::new(&QuerySpec::new().order_by(OrderBy::asc("f"))).unwrap();
        let id = RecordId::new("r1").unwrap();
        let at = |value: &Value| {
            let payload = Payload::encode(&json!({ "f": value })).unwrap();
            query.position(&id, &payload.to_object().unwrap())
        };
        let ordering = query.compare(&at(&value), &at(&serde_json::to_value(&operand).unwrap()));
        if holds(Filter::gt("f", operand.clone()), value.clone()) {
            prop_assert!(ordering.is_gt());
        }
        if holds(Filter::lt("f", operand.clone()), value.clone()) {
            prop_assert!(ordering.is_lt());
        }
        prop_assert_eq!(holds(Filter::eq("f", operand), value), ordering.is_eq());
    }
}

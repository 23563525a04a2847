//! Order, paging, counting, and their agreement with the operators.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{holds, operands, samples};
use crate::{
    ErrorKind, Payload, RecordId,
    query::{Filter, OrderBy, Query, QuerySpec, count, evaluate},
};

fn rows(payloads: &[(&str, &str)]) -> Vec<(RecordId, Payload)> {
    payloads
        .iter()
        .map(|(id, text)| (RecordId::new(*id).unwrap(), Payload::parse(*text).unwrap()))
        .collect()
}

fn ids(found: Vec<(RecordId, Payload)>) -> Vec<String> {
    found.into_iter().map(|(id, _)| id.to_string()).collect()
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

//! One test for each rule of the module documentation.

use serde_json::{Value, json};

use super::{Filter, FilterValue};
use crate::{id::RecordId, payload::Payload};

mod filters;
mod order;

/// Whether the filter holds for a record `r1` whose field `f` has the value.
fn holds(filter: Filter, value: Value) -> bool {
    let payload = Payload::encode(&json!({ "f": value })).unwrap();
    filter
        .matches(&RecordId::new("r1").unwrap(), &payload.to_object().unwrap())
        .unwrap()
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

//! What the operators mean.

use serde_json::{Value, json};

use super::{holds, operands, samples};
use crate::{
    JsonObject, Payload, RecordId,
    query::{Comparison, Filter, FilterValue},
};

fn holds_without_field(filter: Filter) -> bool {
    filter
        .matches(&RecordId::new("r1").unwrap(), &JsonObject::new())
        .unwrap()
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
        !holds(Filter::starts_with("f", "ea"), json!("tea")),
        "inside is not at the beginning"
    );
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

//! Records and operations of other schema versions than the app's.

use super::*;

#[test]
fn an_update_keeps_fields_that_only_a_newer_app_knows() {
    let mut bench = Bench::new(MustNotBeCalled);
    bench.schema.known_part = |payload| {
        let mut fields = payload.to_object()?;
        fields.remove("from_the_future");
        Ok(Payload::from_object(&fields))
    };
    let base = confirmed(r#"{"t":1,"from_the_future":7,"gone":1}"#);
    let after = bench.write(&base, Intent::Update(payload(r#"{"t":2}"#)));
    assert_eq!(
        text(&after.view),
        Some(serde_json::json!({"t": 2, "from_the_future": 7}))
    );
    assert_eq!(
        after.ops[0].changed,
        ChangedFields::Only(["gone".to_owned(), "t".to_owned()].into())
    );
    bench.schema.known_part = |_| Err(crate::SyncError::invalid("x", "unreadable"));
    let blind = bench.write(&base, Intent::Update(payload(r#"{"t":2}"#)));
    assert_eq!(
        text(&blind.view),
        Some(serde_json::json!({"t": 2, "from_the_future": 7, "gone": 1}))
    );
}

#[test]
fn a_pulled_record_of_an_older_shape_is_upgraded() {
    let mut schema = crate::CollectionSchema::untyped("todos", "id").unwrap();
    schema.schema_version = 3;
    schema.check = |payload, _| match payload.to_object()?.contains_key("c") {
        true => Ok(()),
        false => Err(crate::SyncError::invalid("c", "is missing")),
    };
    schema.upgrade = |mut fields, from| {
        let name = if from == 2 { "b" } else { "a" };
        let value = fields.remove(name).ok_or_else(|| format!("there is no {name}"))?;
        fields.insert("c".into(), value);
        Ok(fields)
    };
    let fit = |text: &str| fit_payload(&schema, &payload(text), &key().id);
    for older in [r#"{"a":1}"#, r#"{"b":1}"#, r#"{"c":1}"#] {
        assert_eq!(fit(older).unwrap(), payload(r#"{"c":1}"#));
    }
    assert_eq!(fit(r#"{"x":1}"#).unwrap_err().field(), Some("c"));
}

#[test]
fn an_upgrade_that_fails_parks_the_operation() {
    let bench = Bench::new(MustNotBeCalled);
    let mut schema = crate::CollectionSchema::untyped("todos", "id").unwrap();
    schema.schema_version = 2;
    schema.upgrade = |mut fields, _| {
        let old = fields.remove("name").ok_or("there is no name")?;
        fields.insert("title".into(), old);
        Ok(fields)
    };
    let mut good = bench.write(&absent(), Intent::Create(payload(r#"{"name":"a"}"#)));
    upgrade_state(&schema, &mut good);
    assert_eq!(
        text(&good.ops[0].payload),
        Some(serde_json::json!({"title": "a"}))
    );
    let mut bad = bench.write(&absent(), Intent::Create(payload("{}")));
    upgrade_state(&schema, &mut bad);
    assert!(matches!(
        &bad.ops[0].state,
        OpState::Parked(ParkReason::SchemaUpgrade { .. })
    ));
    let _: OpId = bad.ops[0].op_id;
}

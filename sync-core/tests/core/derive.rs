//! What `#[derive(SyncRecord)]` makes of a struct.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sync_core::{
    CollectionName, CollectionSchema, ErrorKind, HasId, HasSoftDelete, HasUpdatedAt, JsonObject, ParentField,
    Payload, RecordId, SyncRecord, Timestamp,
    query::{Field, Filter},
};

#[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
#[serde(rename_all = "camelCase")]
#[sync(collection = "todos", schema_version = 3, upgrade = upgrades::add_done)]
struct Todo {
    #[sync(id)]
    todo_id: String,
    #[sync(index)]
    #[serde(default)]
    done: bool,
    #[sync(index, parent = "projects")]
    #[serde(rename = "project")]
    project_id: Option<i64>,
    #[sync(parent = "todos")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part_of: Option<String>,
    #[sync(updated_at, index)]
    changed_at: i64,
    #[sync(deleted_at)]
    #[serde(default)]
    is_gone: bool,
    r#type: u8,
    #[serde(skip)]
    cached_length: usize,
}

mod upgrades {
    use sync_core::JsonObject;

    pub(super) fn add_done(mut fields: JsonObject, from_version: u32) -> Result<JsonObject, String> {
        match from_version {
            0 => Err("version 0 was never released".to_owned()),
            _ => {
                fields.insert("done".to_owned(), true.into());
                Ok(fields)
            }
        }
    }
}

fn todo() -> Todo {
    Todo {
        todo_id: "t1".to_owned(),
        done: false,
        project_id: Some(4),
        part_of: None,
        changed_at: 9,
        is_gone: false,
        r#type: 1,
        cached_length: 0,
    }
}

fn name_and_value_type<V>(field: &Field<V>) -> (&'static str, &'static str) {
    (field.name(), std::any::type_name::<V>())
}

#[test]
fn the_schema_names_fields_as_they_are_serialized() {
    let schema = Todo::schema();
    assert_eq!(schema.name, CollectionName::new("todos").unwrap());
    assert_eq!(
        (Todo::COLLECTION, Todo::SCHEMA_VERSION, schema.schema_version),
        ("todos", 3, 3)
    );
    assert_eq!(schema.id_field, "todoId");
    assert_eq!(schema.updated_at_field.as_deref(), Some("changedAt"));
    assert_eq!(schema.deleted_at_field.as_deref(), Some("isGone"));
    assert_eq!(schema.indexes, ["done", "project", "changedAt"]);
    let parent = |field: &str, collection: &str| ParentField {
        field: field.to_owned(),
        collection: CollectionName::new(collection).unwrap(),
    };
    assert_eq!(
        schema.parents,
        [parent("project", "projects"), parent("partOf", "todos")]
    );
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
#[serde(rename_all = "camelCase")]
#[sync(
    collection = "tasks",
    index(owned_by, r#type, desc(changed_at)),
    index(desc(owned_by))
)]
struct Task {
    #[sync(id)]
    id: String,
    owned_by: String,
    r#type: u8,
    #[serde(rename = "at")]
    changed_at: i64,
}

#[test]
fn an_index_over_several_fields_names_them_as_they_are_serialized_in_the_given_order() {
    let schema = Task::schema();
    assert!(schema.indexes.is_empty());
    let named = schema.composite_indexes.iter().map(|fields| {
        let fields = fields.iter().map(|by| (by.field.as_str(), by.descending));
        fields.collect::<Vec<_>>()
    });
    assert_eq!(
        named.collect::<Vec<_>>(),
        [
            vec![("ownedBy", false), ("type", false), ("at", true)],
            vec![("ownedBy", true)],
        ]
    );
}

#[test]
fn the_traits_read_the_marked_fields_and_their_methods_stay_callable() {
    let mut todo = todo();
    assert_eq!(todo.id(), "t1");
    assert_eq!(todo.updated_at(), Some(Timestamp::from_micros(9)));
    assert_eq!((todo.deleted_at(), todo.is_deleted()), (None, false));
    (todo.is_gone, todo.cached_length) = (true, 2);
    assert_eq!(
        (todo.deleted_at(), todo.is_deleted()),
        (Some(Timestamp::EPOCH), true)
    );
    let stored: Todo = Payload::encode(&todo).unwrap().decode().unwrap();
    assert_eq!(
        (stored.id(), stored.is_deleted(), stored.cached_length),
        (todo.id(), true, 0)
    );
}

#[test]
fn each_serialized_field_has_a_query_function_with_the_type_of_its_values() {
    assert_eq!(name_and_value_type(&Todo::done()), ("done", "bool"));
    assert_eq!(
        name_and_value_type(&Todo::project_id()),
        ("project", std::any::type_name::<Option<i64>>())
    );
    assert_eq!(
        name_and_value_type(&Todo::part_of()),
        ("partOf", std::any::type_name::<Option<String>>())
    );
    assert_eq!(name_and_value_type(&Todo::r#type()), ("type", "u8"));
    const IN_A_CONSTANT: Field<i64> = Todo::changed_at();
    assert_eq!(IN_A_CONSTANT.name(), "changedAt");
}

#[test]
fn query_functions_make_the_filters_of_their_serialized_names() {
    assert_eq!(Todo::done().eq(false), Filter::eq("done", false));
    assert_eq!(
        Todo::project_id().eq(4).and(Todo::part_of().is_null()),
        Filter::eq("project", 4).and(Filter::is_null("partOf"))
    );
    assert_eq!(Todo::project_id().eq(todo().project_id), Filter::eq("project", 4));
    assert_eq!(
        Todo::part_of().starts_with("t"),
        Filter::starts_with("partOf", "t")
    );
}

/// The kind of error with which the schema refuses the payload under this id.
fn check(schema: &CollectionSchema, payload: serde_json::Value, id: &str) -> Result<(), ErrorKind> {
    let checked = || (schema.check)(&Payload::encode(&payload)?, &RecordId::new(id)?);
    checked().map_err(|error| error.kind())
}

#[test]
fn the_check_accepts_what_decodes_under_its_own_id_and_nothing_else() {
    let schema = Todo::schema();
    let good = json!({"todoId": "t1", "project": null, "changedAt": 9, "type": 1, "unknown": []});
    assert_eq!(check(&schema, good.clone(), "t1"), Ok(()));
    assert_eq!(check(&schema, good, "t2"), Err(ErrorKind::Invalid));
    let wrong_name = json!({"todo_id": "t1", "project": null, "changedAt": 9, "type": 1});
    assert_eq!(check(&schema, wrong_name, "t1"), Err(ErrorKind::Malformed));
    let wrong_type = json!({"todoId": "t1", "project": "four", "changedAt": 9, "type": 1});
    assert_eq!(check(&schema, wrong_type, "t1"), Err(ErrorKind::Malformed));
}

#[test]
fn the_upgrade_function_is_the_one_the_schema_carries() {
    let upgraded = (Todo::schema().upgrade)(JsonObject::new(), 1).unwrap();
    assert_eq!(upgraded["done"], true);
    assert_eq!(
        Todo::upgrade(JsonObject::new(), 0),
        Err("version 0 was never released".to_owned())
    );
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct HTTPLogLine {
    #[sync(id)]
    number: u32,
}

#[test]
fn a_struct_with_only_an_id_gets_the_defaults() {
    let line = HTTPLogLine { number: 7 };
    let schema = HTTPLogLine::schema();
    assert_eq!(
        (HTTPLogLine::COLLECTION, HTTPLogLine::SCHEMA_VERSION),
        ("http_log_line", 1)
    );
    assert_eq!((schema.updated_at_field, schema.deleted_at_field), (None, None));
    assert_eq!((schema.indexes.len(), schema.parents.len()), (0, 0));
    assert_eq!((line.id(), line.updated_at(), line.deleted_at()), (7, None, None));
    assert_eq!(check(&HTTPLogLine::schema(), json!({"number": 7}), "7"), Ok(()));
    let unchanged = JsonObject::from_iter([("number".to_owned(), json!(7))]);
    assert_eq!(HTTPLogLine::upgrade(unchanged.clone(), 1), Ok(unchanged));
}

/// Compares the names in the schema with the keys that serde writes, for one case of `rename_all`.
macro_rules! renamed_as_serde_does {
    ($($test:ident: $case:literal,)*) => {$(
        #[test]
        fn $test() {
            #[derive(Clone, Serialize, Deserialize, SyncRecord)]
            #[serde(rename_all = $case)]
            #[sync(collection = $case)]
            struct Record {
                #[sync(id, index)]
                id: String,
                #[sync(index)]
                two_words: bool,
                #[sync(index)]
                _odd__name_2_x_: bool,
                #[sync(index)]
                mixedCase: bool,
                #[sync(index)]
                r#type: bool,
                #[sync(index)]
                #[serde(rename = "Own Name")]
                own: bool,
            }

            let record = Record {
                id: "r".to_owned(),
                two_words: true,
                _odd__name_2_x_: true,
                mixedCase: true,
                r#type: true,
                own: true,
            };
            let written = Payload::encode(&record).unwrap().to_object().unwrap();
            let mut written: Vec<&str> = written.keys().map(String::as_str).collect();
            let mut declared = Record::schema().indexes;
            written.sort_unstable();
            declared.sort_unstable();
            assert_eq!(declared, written);
            assert_eq!(Record::COLLECTION, $case);
            assert!(written.contains(&Record::mixedCase().name()));
        }
    )*};
}

#[allow(
    non_snake_case,
    reason = "serde's rules do not depend on the case of the Rust name"
)]
mod rename_all {
    use super::*;

    renamed_as_serde_does! {
        names_in_lower_case_are_those_of_serde: "lowercase",
        names_in_upper_case_are_those_of_serde: "UPPERCASE",
        names_in_pascal_case_are_those_of_serde: "PascalCase",
        names_in_camel_case_are_those_of_serde: "camelCase",
        names_in_snake_case_are_those_of_serde: "snake_case",
        names_in_screaming_snake_case_are_those_of_serde: "SCREAMING_SNAKE_CASE",
        names_in_kebab_case_are_those_of_serde: "kebab-case",
        names_in_screaming_kebab_case_are_those_of_serde: "SCREAMING-KEBAB-CASE",
    }
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[serde(bound = "Body: Serialize + serde::de::DeserializeOwned")]
struct Note<Body, Key, const SIZE: usize>
where
    Key: Ord,
{
    #[sync(id)]
    #[serde(bound = "Key: Serialize + serde::de::DeserializeOwned")]
    key: Key,
    #[sync(index)]
    body: Body,
    #[sync(updated_at)]
    at: Option<String>,
}

#[test]
fn type_and_const_parameters_are_carried_over() {
    type Texts = Note<Vec<String>, i64, 4>;
    let note = Texts {
        key: -3,
        body: vec![],
        at: Some("1970-01-01T00:00:00.000002Z".to_owned()),
    };
    assert_eq!(
        (note.id(), note.updated_at()),
        (-3, Some(Timestamp::from_micros(2)))
    );
    assert_eq!(
        name_and_value_type(&Texts::body()),
        ("body", std::any::type_name::<Vec<String>>())
    );
    assert_eq!(Note::<u8, u64, 1>::schema().indexes, ["body"]);
}

#[test]
fn a_collection_name_may_have_128_characters_of_any_kind() {
    const LONG: &str = "\u{fc}2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678";
    #[derive(Clone, Serialize, Deserialize, SyncRecord)]
    #[sync(
        collection = "\u{fc}2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
    )]
    struct Long {
        #[sync(id)]
        id: i32,
    }
    assert_eq!(LONG.chars().count(), 128);
    assert_eq!(Long { id: 1 }.id(), 1);
    assert_eq!(Long::schema().name.as_str(), LONG);
}

/// Stands for a crate that passes sync-core on under another name.
mod facade {
    pub(crate) use sync_core as inner;
}

#[test]
fn the_path_of_sync_core_can_be_another_crates() {
    #[derive(Clone, Serialize, Deserialize, SyncRecord)]
    #[sync(crate = "crate::derive::facade::inner")]
    struct Item {
        #[sync(id)]
        id: i32,
    }
    assert_eq!(Item::schema().id_field, "id");
    assert_eq!(Item { id: 2 }.id(), 2);
}

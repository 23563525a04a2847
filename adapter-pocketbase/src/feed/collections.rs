//! The collections of the feed, as PocketBase's import takes them.

use serde_json::{Map, Value, json};
use sync_core::{ErrorKind, Result, SyncError};

use super::{
    names::{FEED_VERSION, FIELD_BASE, FIELD_OP, FIELD_REV, FIELD_STAMP},
    options::FeedOptions,
    triggers::meta_query,
};

/// Room for the longest record id and for our stamps.
const TEXT_CHARS: u32 = 2_000;

fn number(name: &str) -> Value {
    json!({"name": name, "type": "number", "onlyInt": true})
}

fn text(name: &str) -> Value {
    json!({"name": name, "type": "text", "max": TEXT_CHARS})
}

/// A configuration error about the collection.
fn unfit(options: &FeedOptions, why: &str) -> SyncError {
    let message = format!("the collection `{}` {why}", options.collection());
    SyncError::new(ErrorKind::Configuration, message).with_field("collection")
}

/// The fields that the feed adds to the collection.
pub(super) fn own_fields() -> [Value; 4] {
    [
        number(FIELD_REV),
        number(FIELD_BASE),
        text(FIELD_OP),
        text(FIELD_STAMP),
    ]
}

/// The index that makes pulling cost what changed.
pub(super) fn revision_index(options: &FeedOptions) -> String {
    let columns: String = options
        .scope_fields()
        .iter()
        .map(|field| format!("`{field}`, "))
        .collect();
    format!(
        "CREATE INDEX `{}` ON `{}` ({columns}`{FIELD_REV}`)",
        options.names().revision_index(),
        options.collection()
    )
}

/// The collection as it is, with the fields and the index of the feed.
pub(super) fn prepared(options: &FeedOptions, found: &Value) -> Result<Value> {
    if found["type"] == "view" {
        return Err(unfit(options, "is a view; a feed is for what can be written"));
    }
    let mut fields = found["fields"].as_array().cloned().unwrap_or_default();
    for own in own_fields() {
        match fields.iter().find(|field| field["name"] == own["name"]) {
            None => fields.push(own),
            Some(same) if same["type"] == own["type"] => {}
            Some(_) => {
                return Err(unfit(
                    options,
                    &format!("has a field {} of another type already", own["name"]),
                ));
            }
        }
    }
    let name = options.names().revision_index();
    let mut indexes: Vec<Value> = indexes_without(found, &name);
    indexes.push(revision_index(options).into());
    Ok(json!({
        "id": found["id"],
        "name": found["name"],
        "type": found["type"],
        "fields": fields,
        "indexes": indexes,
    }))
}

/// The collection as it is, without the fields and the index of the feed.
pub(super) fn stripped(options: &FeedOptions, found: &Value) -> Value {
    let own = own_fields().map(|field| field["name"].clone());
    let mut fields = found["fields"].as_array().cloned().unwrap_or_default();
    fields.retain(|field| !own.contains(&field["name"]));
    let indexes = indexes_without(found, &options.names().revision_index());
    json!({"fields": fields, "indexes": indexes})
}

fn indexes_without(found: &Value, name: &str) -> Vec<Value> {
    let mut indexes = found["indexes"].as_array().cloned().unwrap_or_default();
    indexes.retain(|index| {
        let text = index.as_str().unwrap_or_default();
        !text.split(['`', '"', ' ']).any(|word| word == name)
    });
    indexes
}

/// Fields of the collection as fields of tombstones, with the types they have there.
///
/// A relation becomes text: PocketBase would empty it when the related record is deleted, and the tombstones of
/// its children with it.
fn copies(options: &FeedOptions, names: &[String], found: &Value) -> Result<Vec<Value>> {
    let fields = found["fields"].as_array().cloned().unwrap_or_default();
    let mut copies = Vec::new();
    for name in names {
        let Some(field) = fields.iter().find(|field| field["name"] == *name) else {
            return Err(unfit(
                options,
                &format!("has no field `{name}`, which tombstones are to carry"),
            ));
        };
        let single = field["maxSelect"].as_u64().unwrap_or(1) <= 1;
        copies.push(match field["type"].as_str().unwrap_or_default() {
            "text" | "email" | "url" | "date" | "autodate" => text(name),
            "select" | "relation" if single => text(name),
            "number" => json!({"name": name, "type": "number"}),
            "bool" => json!({"name": name, "type": "bool"}),
            other => {
                let why = format!("has the field `{name}` of type {other}, which tombstones cannot carry");
                return Err(unfit(options, &why));
            }
        });
    }
    Ok(copies)
}

/// Who may read tombstones: `None` is superusers only.
fn read_rule(options: &FeedOptions, found: &Value) -> Option<String> {
    match options.read_rule() {
        Some(rule) => rule.clone(),
        None => found["listRule"].as_str().map(str::to_owned),
    }
}

/// Who may read the counter: everybody for whom tombstones are not for superusers only. Unless the collection is
/// open to guests, a sign-in is needed, so that this read tells whether there is one.
fn meta_rule(read_rule: Option<&str>) -> Option<&'static str> {
    match read_rule {
        None => None,
        Some("") => Some(""),
        Some(_) => Some("@request.auth.id != ''"),
    }
}

/// Who may announce a delete: who may read, and only without a number.
fn intent_rule(read_rule: Option<&str>) -> Option<String> {
    match read_rule {
        None => None,
        Some("") => Some("seq = 0".to_owned()),
        Some(rule) => Some(format!("({rule}) && seq = 0")),
    }
}

/// A base collection whose rows have ids of any form.
fn base(name: &str, fields: Vec<Value>, indexes: Vec<String>) -> Map<String, Value> {
    let id = json!({
        "name": "id", "type": "text", "primaryKey": true, "required": true, "system": true,
        "min": 1, "max": 100, "pattern": "^[A-Za-z0-9_-]+$", "autogeneratePattern": "[a-z0-9]{15}",
    });
    let mut all = vec![id];
    all.extend(fields);
    let parts = [
        ("name", name.into()),
        ("type", "base".into()),
        ("fields", all.into()),
        ("indexes", indexes.into()),
        ("listRule", Value::Null),
        ("viewRule", Value::Null),
        ("createRule", Value::Null),
        ("updateRule", Value::Null),
        ("deleteRule", Value::Null),
    ];
    parts
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}

/// The three collections beside the prepared one.
pub(super) fn feed_collections(options: &FeedOptions, found: &Value) -> Result<Vec<Value>> {
    let names = options.names();
    let (gone, ops, marks) = (names.gone(), names.ops(), names.marks());
    let rule = read_rule(options, found);
    let meta_rule = meta_rule(rule.as_deref());
    let scope = copies(options, options.scope_fields(), found)?;
    let scope_columns: String = options
        .scope_fields()
        .iter()
        .map(|field| format!("`{field}`, "))
        .collect();

    let mut fields = vec![
        number("seq"),
        text("record"),
        text("stamp"),
        text("at"),
        text("why"),
    ];
    fields.extend(scope.clone());
    fields.extend(copies(options, options.copied_fields(), found)?);
    let mut indexes = vec![
        format!(
            "CREATE UNIQUE INDEX `{}` ON `{gone}` (`seq`)",
            names.index("gone_seq")
        ),
        format!(
            "CREATE INDEX `{}` ON `{gone}` (`record`)",
            names.index("gone_record")
        ),
    ];
    if !scope.is_empty() {
        let index = names.index("gone_scope");
        indexes.push(format!(
            "CREATE INDEX `{index}` ON `{gone}` ({scope_columns}`seq`)"
        ));
    }
    let mut gone = base(&gone, fields, indexes);
    gone.insert("listRule".to_owned(), rule.clone().into());
    gone.insert("viewRule".to_owned(), rule.clone().into());

    let mut fields = vec![number("seq"), text("record"), number("base"), text("stamp")];
    fields.extend(scope);
    let indexes = vec![
        format!("CREATE INDEX `{}` ON `{ops}` (`seq`)", names.index("ops_seq")),
        format!(
            "CREATE INDEX `{}` ON `{ops}` (`record`) WHERE seq = 0",
            names.index("ops_intent")
        ),
    ];
    let mut ops = base(&ops, fields, indexes);
    ops.insert("createRule".to_owned(), intent_rule(rule.as_deref()).into());
    ops.insert("listRule".to_owned(), rule.clone().into());
    ops.insert("viewRule".to_owned(), rule.into());

    let mut marks = base(&marks, Vec::new(), Vec::new());
    marks.insert("viewRule".to_owned(), meta_rule.into());
    Ok([gone, ops, marks].map(Value::Object).into())
}

/// The view of the counter, which can be made once the table is there.
pub(super) fn meta_view(options: &FeedOptions, found: &Value) -> Value {
    let rule = read_rule(options, found);
    let rule = meta_rule(rule.as_deref());
    json!({
        "name": options.names().meta(),
        "type": "view",
        "viewQuery": meta_query(options, FEED_VERSION),
        "listRule": rule,
        "viewRule": rule,
    })
}

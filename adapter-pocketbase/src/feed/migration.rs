//! The feed as a migration file.

use std::fmt::Write;

use serde_json::{Value, json};
use sync_core::Result;

use super::{
    collections::{feed_collections, meta_view, own_fields, revision_index},
    options::FeedOptions,
    triggers::{drop_counter, drop_triggers, make_counter, number_old_records, replace_triggers},
};

/// The text of a migration that installs the same as [`setup`](super::setup), and takes it away again when it is
/// reverted. Put it into `pb_migrations/` under a name that begins with a time, as `1700000000_sync_todos.js`.
///
/// A file is made without asking the server, so two things must be said in `options` and here that `setup` finds
/// out: who may read tombstones ([`FeedOptions::with_read_rule`]; superusers only without it), and the type of
/// each scope field and copied field (`"text"`, `"number"`, `"bool"`, `"relation"`; text without it).
///
/// # Errors
/// `Configuration` if a scope field has a type that cannot be one.
pub fn migration(options: &FeedOptions, scope_types: &[(&str, &str)]) -> Result<String> {
    let fields: Vec<Value> = options
        .scope_fields()
        .iter()
        .chain(options.copied_fields())
        .map(|name| {
            let told = scope_types.iter().find(|(field, _)| field == name);
            json!({"name": name, "type": told.map_or("text", |(_, kind)| *kind)})
        })
        .collect();
    let assumed = json!({"fields": fields, "listRule": null});
    let collections = feed_collections(options, &assumed)?;
    let names = options.names();

    let mut up = format!(
        "  const collection = app.findCollectionByNameOrId({});\n",
        js(options.collection())
    );
    for field in own_fields() {
        let _ = writeln!(up, "  addField(collection, {field});");
    }
    let index = revision_index(options);
    let _ = writeln!(up, "  collection.removeIndex({});", js(&names.revision_index()));
    let _ = writeln!(
        up,
        "  collection.indexes = collection.indexes.concat([{}]);",
        js(&index)
    );
    up.push_str("  app.save(collection);\n");
    let _ = writeln!(
        up,
        "  app.importCollectionsByMarshaledJSON(JSON.stringify({}), false);",
        Value::from(collections)
    );
    let _ = writeln!(up, "  run({});", js(&make_counter(options)));
    let _ = writeln!(
        up,
        "  app.importCollectionsByMarshaledJSON(JSON.stringify({}), false);",
        json!([meta_view(options, &assumed)])
    );
    for trigger in replace_triggers(options) {
        let _ = writeln!(up, "  run({});", js(&trigger));
    }
    let _ = writeln!(up, "  run({});", js(&number_old_records(options, u32::MAX)));

    let mut down = format!("  run({});\n", js(&drop_triggers(options)));
    for collection in [names.meta(), names.gone(), names.ops(), names.marks()] {
        let _ = writeln!(
            down,
            "  app.delete(app.findCollectionByNameOrId({}));",
            js(&collection)
        );
    }
    let _ = writeln!(down, "  run({});", js(&drop_counter(options)));
    let _ = writeln!(
        down,
        "  const collection = app.findCollectionByNameOrId({});",
        js(options.collection())
    );
    let _ = writeln!(down, "  collection.removeIndex({});", js(&names.revision_index()));
    for field in own_fields() {
        let _ = writeln!(down, "  collection.fields.removeByName({});", field["name"]);
    }
    down.push_str("  app.save(collection);\n");

    Ok(format!(
        "/// The sync feed of the collection {}.\n\
         migrate((app) => {{\n\
         {HELPERS}{up}}}, (app) => {{\n\
         {RUN}{down}}});\n",
        js(options.collection())
    ))
}

const RUN: &str = "  const run = (sql) => app.db().newQuery(sql).execute();\n";

const HELPERS: &str = "  const run = (sql) => app.db().newQuery(sql).execute();
  const addField = (collection, field) => {
    if (collection.fields.getByName(field.name)) return;
    collection.fields.add(field.type === \"number\" ? new NumberField(field) : new TextField(field));
  };
";

/// A JavaScript string.
fn js(text: &str) -> String {
    Value::from(text).to_string()
}

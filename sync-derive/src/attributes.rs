//! The `#[sync(...)]` attributes: what they may say, and what to write instead when they say something else.

use proc_macro2::Span;
use syn::{
    Attribute, Error, Ident, Lit, LitInt, LitStr, Path, Result, Token,
    ext::IdentExt,
    meta::ParseNestedMeta,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    spanned::Spanned,
    token,
};

const STRUCT_KEYS: &str = r#"collection = "name", index(field, desc(other)), schema_version = 1, upgrade = path, crate = "path", no_fields"#;
const FIELD_KEYS: &str = r#"id, updated_at, deleted_at, index, parent = "collection""#;
const MAX_COLLECTION_CHARS: usize = 128;

/// What the attributes of the struct say.
#[derive(Default)]
pub(crate) struct StructAttributes {
    pub(crate) collection: Option<LitStr>,
    pub(crate) schema_version: Option<LitInt>,
    pub(crate) upgrade: Option<Path>,
    pub(crate) crate_path: Option<Path>,
    pub(crate) no_fields: Option<Span>,
    pub(crate) indexes: Vec<Vec<IndexedField>>,
}

/// A field of an index over several fields.
pub(crate) struct IndexedField {
    pub(crate) field: Ident,
    pub(crate) descending: bool,
}

impl StructAttributes {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for_each_key(attributes, "sync", |key, meta| match key {
            "collection" => set(&mut found.collection, meta, collection_value),
            "schema_version" => set(&mut found.schema_version, meta, version_value),
            "upgrade" => set(&mut found.upgrade, meta, upgrade_value),
            "crate" => set(&mut found.crate_path, meta, crate_value),
            "no_fields" => set(&mut found.no_fields, meta, flag),
            "index" if meta.input.peek(token::Paren) => {
                found.indexes.push(index_value(meta)?);
                Ok(())
            }
            "id" | "updated_at" | "deleted_at" | "index" | "parent" => Err(meta.error(format!(
                "`{key}` belongs on a field; move it to the field it speaks of"
            ))),
            _ => Err(meta.error(format!("unknown key `{key}`; a struct takes {STRUCT_KEYS}"))),
        })?;
        Ok(found)
    }
}

/// What the attributes of one field say. The spans are those of the keys.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    pub(crate) id: Option<Span>,
    pub(crate) updated_at: Option<Span>,
    pub(crate) deleted_at: Option<Span>,
    pub(crate) index: Option<Span>,
    pub(crate) parent: Option<LitStr>,
}

impl FieldAttributes {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for_each_key(attributes, "sync", |key, meta| match key {
            "id" => set(&mut found.id, meta, flag),
            "updated_at" => set(&mut found.updated_at, meta, flag),
            "deleted_at" => set(&mut found.deleted_at, meta, flag),
            "index" => set(&mut found.index, meta, flag),
            "parent" => set(&mut found.parent, meta, parent_value),
            "collection" | "schema_version" | "upgrade" | "crate" | "no_fields" => {
                Err(meta.error(format!("`{key}` belongs on the struct; move it above the struct")))
            }
            _ => Err(meta.error(format!("unknown key `{key}`; a field takes {FIELD_KEYS}"))),
        })?;
        Ok(found)
    }

    /// Whether any key is present, so that the schema will speak of this field.
    pub(crate) fn is_marked(&self) -> bool {
        self.parent.is_some()
            || [self.id, self.updated_at, self.deleted_at, self.index]
                .iter()
                .any(Option::is_some)
    }
}

/// Reads the keys of every `#[name(...)]` among `attributes`.
pub(crate) fn for_each_key(
    attributes: &[Attribute],
    name: &str,
    mut action: impl FnMut(&str, &ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    let mut named = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident(name));
    named.try_for_each(|attribute| attribute.parse_nested_meta(|meta| action(&key_of(&meta), &meta)))
}

/// The key as written; empty for a path, which is no key of ours.
fn key_of(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map(ToString::to_string).unwrap_or_default()
}

fn set<T>(
    slot: &mut Option<T>,
    meta: &ParseNestedMeta<'_>,
    read: impl FnOnce(&ParseNestedMeta<'_>) -> Result<T>,
) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error(format!("`{}` is given twice; remove one", key_of(meta))));
    }
    *slot = Some(read(meta)?);
    Ok(())
}

/// A key that stands alone.
fn flag(meta: &ParseNestedMeta<'_>) -> Result<Span> {
    if meta.input.is_empty() || meta.input.peek(Token![,]) {
        Ok(meta.path.span())
    } else {
        let key = key_of(meta);
        Err(meta.error(format!("`{key}` takes no value; write #[sync({key})]")))
    }
}

/// The `= ...` after a key; `example` shows the whole of it.
fn require_equals(meta: &ParseNestedMeta<'_>, example: &str) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.input.parse::<Token![=]>().map(drop)
    } else {
        Err(meta.error(format!(
            "`{}` needs a value; write #[sync({example})]",
            key_of(meta)
        )))
    }
}

/// What to write for an index over several fields.
const INDEX_EXAMPLE: &str = "write #[sync(index(owner, desc(updated_at)))]";

/// The fields in the parentheses after `index`, each alone or as `desc(field)`.
fn index_value(meta: &ParseNestedMeta<'_>) -> Result<Vec<IndexedField>> {
    let content;
    let parentheses = syn::parenthesized!(content in meta.input);
    let fields = Punctuated::<IndexedField, Token![,]>::parse_terminated(&content)?;
    if fields.is_empty() {
        let problem = format!("`index` names no fields; {INDEX_EXAMPLE}");
        return Err(Error::new(parentheses.span.join(), problem));
    }
    Ok(fields.into_iter().collect())
}

impl Parse for IndexedField {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let field = input.call(Ident::parse_any)?;
        if !input.peek(token::Paren) {
            return Ok(Self {
                field,
                descending: false,
            });
        }
        if field != "desc" {
            let problem = format!("`{field}` is no order: fields ascend unless in `desc`; {INDEX_EXAMPLE}");
            return Err(Error::new(field.span(), problem));
        }
        let content;
        syn::parenthesized!(content in input);
        let field = content.call(Ident::parse_any)?;
        if !content.is_empty() {
            let problem = format!("`desc` takes one field; {INDEX_EXAMPLE}");
            return Err(content.error(problem));
        }
        Ok(Self {
            field,
            descending: true,
        })
    }
}

fn text_value(meta: &ParseNestedMeta<'_>, example: &str) -> Result<LitStr> {
    require_equals(meta, example)?;
    let mend = |span| {
        let key = key_of(meta);
        Error::new(
            span,
            format!("the value of `{key}` must be a text in quotes; write #[sync({example})]"),
        )
    };
    match meta.input.parse::<Lit>() {
        Ok(Lit::Str(text)) => Ok(text),
        Ok(other) => Err(mend(other.span())),
        Err(error) => Err(mend(error.span())),
    }
}

fn collection_value(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    checked_collection(text_value(meta, r#"collection = "todos""#)?)
}

fn parent_value(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    checked_collection(text_value(meta, r#"parent = "projects""#)?)
}

/// The rule of `sync_core::CollectionName`, applied before the program runs.
fn checked_collection(name: LitStr) -> Result<LitStr> {
    let text = name.value();
    let chars = text.chars().count();
    if text.is_empty() {
        Err(Error::new(
            name.span(),
            "a collection's name must not be empty; write the name the remote knows it by",
        ))
    } else if chars > MAX_COLLECTION_CHARS {
        let problem =
            format!("this collection's name has {chars} characters; shorten it to {MAX_COLLECTION_CHARS}");
        Err(Error::new(name.span(), problem))
    } else if let Some(at) = text.chars().position(char::is_control) {
        let problem = format!("this collection's name has a control character at position {at}; remove it");
        Err(Error::new(name.span(), problem))
    } else {
        Ok(name)
    }
}

fn version_value(meta: &ParseNestedMeta<'_>) -> Result<LitInt> {
    let example = "schema_version = 2";
    require_equals(meta, example)?;
    let mend = |span| {
        let problem = format!(
            "the value of `schema_version` must be a whole number from 1 to {}; write #[sync({example})]",
            u32::MAX
        );
        Error::new(span, problem)
    };
    match meta.input.parse::<Lit>() {
        Ok(Lit::Int(number)) if number.base10_parse::<u32>().is_ok_and(|version| version > 0) => {
            // Rendered without a suffix, so that `2u8` is no type error.
            Ok(LitInt::new(number.base10_digits(), number.span()))
        }
        Ok(other) => Err(mend(other.span())),
        Err(error) => Err(mend(error.span())),
    }
}

fn upgrade_value(meta: &ParseNestedMeta<'_>) -> Result<Path> {
    let example = "upgrade = path::to::function";
    require_equals(meta, example)?;
    meta.input.parse::<Path>().map_err(|error| {
        let problem = format!(
            "the value of `upgrade` must be the path of a function, without quotes; write #[sync({example})]"
        );
        Error::new(error.span(), problem)
    })
}

fn crate_value(meta: &ParseNestedMeta<'_>) -> Result<Path> {
    let text = text_value(meta, r#"crate = "path::to::sync_core""#)?;
    text.parse_with(Path::parse_mod_style).map_err(|_| {
        let problem = format!(
            "`{}` is not a path; write #[sync(crate = \"path::to::sync_core\")]",
            text.value()
        );
        Error::new(text.span(), problem)
    })
}

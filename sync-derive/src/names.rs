//! The names fields have in serialized form, by the rules of serde, and the default name of a collection.

use proc_macro2::Span;
use syn::{
    Attribute, Error, LitStr, Result, Token, ext::IdentExt, meta::ParseNestedMeta, spanned::Spanned, token,
};

use crate::attributes::for_each_key;

const MAX_PATH_CHARS: usize = 512;

/// The cases of `#[serde(rename_all = "...")]`.
#[derive(Clone, Copy)]
enum Case {
    Unchanged,
    Upper,
    Pascal,
    Camel,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    fn parse(text: &LitStr) -> Result<Self> {
        match text.value().as_str() {
            // Serde takes field names to be in lower or snake case already.
            "lowercase" | "snake_case" => Ok(Self::Unchanged),
            "UPPERCASE" => Ok(Self::Upper),
            "PascalCase" => Ok(Self::Pascal),
            "camelCase" => Ok(Self::Camel),
            "SCREAMING_SNAKE_CASE" => Ok(Self::ScreamingSnake),
            "kebab-case" => Ok(Self::Kebab),
            "SCREAMING-KEBAB-CASE" => Ok(Self::ScreamingKebab),
            other => Err(Error::new(
                text.span(),
                format!("`{other}` is not a case that serde knows; use another"),
            )),
        }
    }

    fn apply(self, field: &str) -> String {
        match self {
            Self::Unchanged => field.to_owned(),
            Self::Upper | Self::ScreamingSnake => field.to_ascii_uppercase(),
            Self::Pascal => pascal(field),
            Self::Camel => {
                let mut name = pascal(field);
                if let Some(first) = name.get_mut(..1) {
                    first.make_ascii_lowercase();
                }
                name
            }
            Self::Kebab => field.replace('_', "-"),
            Self::ScreamingKebab => field.to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn pascal(field: &str) -> String {
    let mut name = String::new();
    let mut capitalize = true;
    for c in field.chars() {
        if c == '_' {
            capitalize = true;
        } else {
            name.push(if capitalize { c.to_ascii_uppercase() } else { c });
            capitalize = false;
        }
    }
    name
}

/// A pair of values, one for each direction.
#[derive(Clone, Default)]
struct BothWays<T> {
    serialize: T,
    deserialize: T,
}

/// The serde attributes of a struct that change what its fields are called.
#[derive(Default)]
pub(crate) struct StructNaming {
    rename_all: BothWays<Option<Case>>,
}

impl StructNaming {
    /// # Errors
    /// If the struct does not serialize as an object of its own fields.
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for_each_key(attributes, "serde", |key, meta| {
            match key {
            "rename_all" => {
                let text = both_ways(meta)?;
                if let Some(text) = text.serialize {
                    found.rename_all.serialize = Some(Case::parse(&text)?);
                }
                if let Some(text) = text.deserialize {
                    found.rename_all.deserialize = Some(Case::parse(&text)?);
                }
                Ok(())
            }
            "transparent" => Err(meta.error(
                "a record must serialize as a JSON object; remove `transparent`, or put the derive on the inner struct",
            )),
            "into" => Err(meta.error(
                "with `into` the serialized fields are those of another type; put the derive on that type, or implement SyncRecord by hand",
            )),
            _ => skip_value(meta),
        }
        })?;
        Ok(found)
    }
}

/// The serde attributes of a field that decide under which name, and whether, it is serialized.
#[derive(Default)]
struct FieldNaming {
    rename: BothWays<Option<LitStr>>,
    absent: Option<(Span, String)>,
    sometimes_absent: Option<Span>,
}

impl FieldNaming {
    fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for_each_key(attributes, "serde", |key, meta| match key {
            "rename" => {
                let text = both_ways(meta)?;
                found.rename.serialize = text.serialize.or(found.rename.serialize.take());
                found.rename.deserialize = text.deserialize.or(found.rename.deserialize.take());
                Ok(())
            }
            "flatten" | "skip" | "skip_serializing" | "skip_deserializing" => {
                found.absent = Some((meta.path.span(), key.to_owned()));
                Ok(())
            }
            "skip_serializing_if" => {
                found.sometimes_absent = Some(meta.path.span());
                skip_value(meta)
            }
            _ => skip_value(meta),
        })?;
        Ok(found)
    }
}

/// The name of one field in serialized form.
pub(crate) struct SerializedName {
    naming: FieldNaming,
    names: BothWays<String>,
    span: Span,
}

impl SerializedName {
    /// The name of the field `ident` with these attributes in a struct with this naming.
    pub(crate) fn of(ident: &syn::Ident, attributes: &[Attribute], of_struct: &StructNaming) -> Result<Self> {
        let naming = FieldNaming::parse(attributes)?;
        let plain = ident.unraw().to_string();
        let pick = |rename: &Option<LitStr>, case: Option<Case>| match (rename, case) {
            (Some(rename), _) => rename.value(),
            (None, Some(case)) => case.apply(&plain),
            (None, None) => plain.clone(),
        };
        let names = BothWays {
            serialize: pick(&naming.rename.serialize, of_struct.rename_all.serialize),
            deserialize: pick(&naming.rename.deserialize, of_struct.rename_all.deserialize),
        };
        let renamed = naming
            .rename
            .serialize
            .as_ref()
            .or(naming.rename.deserialize.as_ref());
        let span = renamed.map_or_else(|| ident.span(), LitStr::span);
        Ok(Self { naming, names, span })
    }

    /// The name, if queries can name the field by it: it is the same in both directions, and a path of one step.
    pub(crate) fn if_queryable(&self) -> Option<&str> {
        let name = self.names.serialize.as_str();
        let queryable = self.naming.absent.is_none()
            && self.names.serialize == self.names.deserialize
            && why_no_path(name).is_none();
        queryable.then_some(name)
    }

    /// The name of a field that the schema speaks of.
    ///
    /// # Errors
    /// If the field is not in the serialized record, is read under another name than it is written, or cannot be
    /// named in a query.
    pub(crate) fn required(&self) -> Result<&str> {
        if let Some((span, attribute)) = &self.naming.absent {
            let problem = format!(
                "a field with #[sync(...)] must be stored under its own name; remove `{attribute}` or the #[sync(...)]"
            );
            return Err(Error::new(*span, problem));
        }
        let BothWays {
            serialize,
            deserialize,
        } = &self.names;
        if serialize != deserialize {
            let problem = format!(
                "a field with #[sync(...)] must have one name, but it is written as `{serialize}` and read as \
                 `{deserialize}`; use the same name in both directions"
            );
            return Err(Error::new(self.span, problem));
        }
        match why_no_path(serialize) {
            Some(why) => Err(Error::new(
                self.span,
                format!("the name of a field with #[sync(...)] {why}; use another"),
            )),
            None => Ok(serialize),
        }
    }

    /// The name of a field that every serialized record must have.
    ///
    /// # Errors
    /// As [`Self::required`], and if the field is left out of some records.
    pub(crate) fn required_always(&self) -> Result<&str> {
        match self.naming.sometimes_absent {
            Some(span) => Err(Error::new(
                span,
                "the id must be in every stored record; remove `skip_serializing_if`",
            )),
            None => self.required(),
        }
    }
}

/// What keeps `name` from being a `sync_core::query::FieldPath` of one step that leads to the field.
fn why_no_path(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("must not be empty")
    } else if name.chars().count() > MAX_PATH_CHARS {
        Some("must not be longer than 512 characters")
    } else if name.contains('.') {
        Some("must not contain a dot, which joins the steps of a path")
    } else if name.chars().any(char::is_control) {
        Some("must not contain a control character")
    } else if name == "$id" {
        Some("must not be `$id`, which stands for the id of every record")
    } else {
        None
    }
}

/// The snake case of a type's name: `TodoItem` is `todo_item`, `HTTPLog` is `http_log`.
pub(crate) fn snake_case(type_name: &str) -> String {
    let chars: Vec<char> = type_name.chars().collect();
    let mut name = String::new();
    for (at, &c) in chars.iter().enumerate() {
        if c.is_uppercase() && at > 0 && chars[at - 1] != '_' {
            let ends_acronym = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
            if !chars[at - 1].is_uppercase() || ends_acronym {
                name.push('_');
            }
        }
        name.extend(c.to_lowercase());
    }
    name
}

/// Reads `key = "x"` as x for both directions, and `key(serialize = "x", deserialize = "y")` as it stands.
fn both_ways(meta: &ParseNestedMeta<'_>) -> Result<BothWays<Option<LitStr>>> {
    if meta.input.peek(Token![=]) {
        let text: LitStr = meta.value()?.parse()?;
        return Ok(BothWays {
            serialize: Some(text.clone()),
            deserialize: Some(text),
        });
    }
    let mut found = BothWays::default();
    meta.parse_nested_meta(|direction| {
        let text: LitStr = direction.value()?.parse()?;
        if direction.path.is_ident("serialize") {
            found.serialize = Some(text);
        } else {
            found.deserialize = Some(text);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Steps over the value of a key that has no bearing on names; whether it is valid is serde's to say.
fn skip_value(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<syn::Expr>().map(drop)
    } else if meta.input.peek(token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        content.parse::<proc_macro2::TokenStream>().map(drop)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_collection_is_the_snake_case_of_the_type() {
        let cases = [
            ("Todo", "todo"),
            ("TodoItem", "todo_item"),
            ("HTTPLog", "http_log"),
            ("Page2Draft", "page2_draft"),
            ("Old_Name", "old_name"),
            ("X", "x"),
        ];
        for (type_name, expected) in cases {
            assert_eq!(snake_case(type_name), expected);
        }
    }

    #[test]
    fn odd_field_names_do_not_break_the_cases() {
        assert_eq!(Case::Camel.apply("__two__parts_"), "twoParts");
        assert_eq!(Case::Camel.apply("_"), "");
        assert_eq!(Case::Camel.apply("\u{fc}ber_alles"), "\u{fc}berAlles");
    }
}

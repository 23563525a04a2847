//! The record as the attributes describe it, after every check that needs no types.

use proc_macro2::Span;
use syn::{Data, DeriveInput, Error, Fields, Generics, Ident, Path, Result, Type, Visibility, ext::IdentExt};

use crate::{
    attributes::{FieldAttributes, IndexedField, StructAttributes},
    names::{SerializedName, StructNaming, snake_case},
};

/// A struct that the derive accepts.
pub(crate) struct Record {
    pub(crate) ident: Ident,
    pub(crate) visibility: Visibility,
    pub(crate) generics: Generics,
    pub(crate) collection: String,
    pub(crate) attributes: StructAttributes,
    pub(crate) id: Field,
    pub(crate) updated_at: Option<Field>,
    pub(crate) deleted_at: Option<Field>,
    /// Serialized names, in the order declared.
    pub(crate) indexes: Vec<String>,
    /// Serialized names of the fields of each index over several, with whether they descend.
    pub(crate) composite_indexes: Vec<Vec<(String, bool)>>,
    /// Serialized name of the field and collection of the parent, in the order declared.
    pub(crate) parents: Vec<(String, String)>,
    /// The fields that can be named in queries.
    pub(crate) queryable: Vec<Field>,
}

/// A field of the record.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) name: String,
}

/// Gathers errors, so that one build shows them all.
#[derive(Default)]
struct Problems(Option<Error>);

impl Problems {
    fn add(&mut self, problem: Error) {
        match &mut self.0 {
            Some(problems) => problems.combine(problem),
            None => self.0 = Some(problem),
        }
    }

    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }
}

/// Which fields have which part, as found so far.
#[derive(Default)]
struct Parts {
    id: Option<Field>,
    updated_at: Option<Field>,
    deleted_at: Option<Field>,
    indexes: Vec<String>,
    parents: Vec<(String, String)>,
    queryable: Vec<Field>,
    /// Fields whose own error is enough.
    unreadable: Vec<Ident>,
    /// A field that could not be read in full is or may be the id: its own error is enough.
    id_in_doubt: bool,
}

impl Record {
    /// Reads a `struct` with its attributes.
    ///
    /// # Errors
    /// Every fault found, each at the place to mend.
    pub(crate) fn parse(input: DeriveInput) -> Result<Self> {
        let fields = named_fields(&input)?;
        let mut problems = Problems::default();
        let attributes = problems
            .keep(StructAttributes::parse(&input.attrs))
            .unwrap_or_default();
        let naming = problems
            .keep(StructNaming::parse(&input.attrs))
            .unwrap_or_default();
        if let Some(lifetime) = input.generics.lifetimes().next() {
            let problem = "a record owns its data; remove the lifetime and use owned types such as String";
            problems.add(Error::new_spanned(lifetime, problem));
        }
        let mut parts = Parts::default();
        for field in fields {
            parts.take(field, &naming, &mut problems);
        }
        if parts.id.is_none() && !parts.id_in_doubt {
            problems.add(missing_id(&input.ident));
        }
        let composite_indexes = attributes
            .indexes
            .iter()
            .map(|fields| parts.composite_index(fields, &mut problems))
            .collect();
        if let Some(problems) = problems.0 {
            return Err(problems);
        }
        Ok(Self {
            id: parts.id.ok_or_else(|| missing_id(&input.ident))?,
            collection: match &attributes.collection {
                Some(name) => name.value(),
                None => snake_case(&input.ident.unraw().to_string()),
            },
            ident: input.ident,
            visibility: input.vis,
            generics: input.generics,
            attributes,
            updated_at: parts.updated_at,
            deleted_at: parts.deleted_at,
            indexes: parts.indexes,
            composite_indexes,
            parents: parts.parents,
            queryable: parts.queryable,
        })
    }

    /// The path of sync-core.
    pub(crate) fn core(&self) -> Path {
        self.attributes
            .crate_path
            .clone()
            .unwrap_or_else(|| syn::parse_quote!(::sync_core))
    }
}

fn missing_id(struct_name: &Ident) -> Error {
    Error::new(
        struct_name.span(),
        "no field is marked as the id; add #[sync(id)] to the field that identifies the record",
    )
}

impl Parts {
    fn take(&mut self, field: &syn::Field, naming: &StructNaming, problems: &mut Problems) {
        let Some(ident) = &field.ident else { return };
        let attributes = problems.keep(FieldAttributes::parse(&field.attrs));
        let name = problems.keep(SerializedName::of(ident, &field.attrs, naming));
        self.id_in_doubt |= attributes
            .as_ref()
            .is_none_or(|attributes| attributes.id.is_some());
        let (Some(attributes), Some(name)) = (attributes, name) else {
            self.unreadable.push(ident.clone());
            return;
        };
        let make = |name: &str| Field {
            ident: ident.clone(),
            ty: field.ty.clone(),
            name: name.to_owned(),
        };

        if let Some(name) = name.if_queryable() {
            self.queryable.push(make(name));
        }
        if !attributes.is_marked() {
            return;
        }
        let required = if attributes.id.is_some() {
            name.required_always()
        } else {
            name.required()
        };
        let Some(field) = problems.keep(required).map(make) else {
            return;
        };
        if let Some(span) = attributes.updated_at
            && is_bool(&field.ty)
        {
            let problem =
                "a bool tells no time; put #[sync(updated_at)] on a time, or use #[sync(deleted_at)]";
            problems.add(Error::new(span, problem));
        }
        set_once(&mut self.id, "id", attributes.id, &field, problems);
        set_once(
            &mut self.updated_at,
            "updated_at",
            attributes.updated_at,
            &field,
            problems,
        );
        set_once(
            &mut self.deleted_at,
            "deleted_at",
            attributes.deleted_at,
            &field,
            problems,
        );
        if attributes.index.is_some() {
            self.indexes.push(field.name.clone());
        }
        if let Some(collection) = attributes.parent {
            self.parents.push((field.name, collection.value()));
        }
    }
}

impl Parts {
    /// The serialized names of an index's fields.
    fn composite_index(&self, fields: &[IndexedField], problems: &mut Problems) -> Vec<(String, bool)> {
        let mut names = Vec::with_capacity(fields.len());
        for indexed in fields {
            let found = self.queryable.iter().find(|field| field.ident == indexed.field);
            match found {
                Some(found) => names.push((found.name.clone(), indexed.descending)),
                None if self.unreadable.contains(&indexed.field) => {}
                None => {
                    let problem = format!(
                        "there is no field `{}` that queries can name; an index lists the struct's fields",
                        indexed.field
                    );
                    problems.add(Error::new(indexed.field.span(), problem));
                }
            }
        }
        names
    }
}

fn set_once(slot: &mut Option<Field>, key: &str, span: Option<Span>, field: &Field, problems: &mut Problems) {
    match (span, &slot) {
        (None, _) => {}
        (Some(_), None) => *slot = Some(field.clone()),
        (Some(span), Some(first)) => {
            let problem = format!(
                "#[sync({key})] is on the field `{}` already; a record has one, remove the other",
                first.ident
            );
            problems.add(Error::new(span, problem));
        }
    }
}

fn named_fields(input: &DeriveInput) -> Result<impl Iterator<Item = &syn::Field>> {
    let (what, keyword) = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => return Ok(fields.named.iter()),
            Fields::Unnamed(_) => ("a tuple struct", "give its fields names"),
            Fields::Unit => ("a struct without fields", "add at least a field with #[sync(id)]"),
        },
        Data::Enum(_) => (
            "an enum",
            "put the derive on a struct with named fields that holds the enum",
        ),
        Data::Union(_) => ("a union", "use a struct with named fields"),
    };
    Err(Error::new(
        input.ident.span(),
        format!("SyncRecord cannot be derived for {what}; {keyword}"),
    ))
}

/// The type inside the invisible groups that `macro_rules` fragments leave behind.
fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        other => other,
    }
}

fn is_bool(ty: &Type) -> bool {
    let ty = optional(ty).unwrap_or(ty);
    matches!(ungrouped(ty), Type::Path(path) if path.qself.is_none() && path.path.is_ident("bool"))
}

/// The `T` of a type written as `Option<T>`, `std::option::Option<T>` or `core::option::Option<T>`.
fn optional(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ungrouped(ty) else {
        return None;
    };
    let segments: Vec<String> = path
        .path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if !matches!(segments[..], ["Option"] | ["std" | "core", "option", "Option"]) {
        return None;
    }
    match &path.path.segments.last()?.arguments {
        syn::PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            syn::GenericArgument::Type(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    }
}

//! The code that the derive writes.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Generics, Ident, ext::IdentExt, parse_quote};

use crate::record::{Field, Record};

/// Associated functions of `SyncRecord` that are called as `Type::name()`: a query function of the same name would
/// hide them.
const TAKEN_NAMES: [&str; 2] = ["schema", "upgrade"];

/// The implementations of all four traits, and the query functions.
pub(crate) fn expand(record: &Record) -> TokenStream {
    [
        has_id(record),
        has_updated_at(record),
        has_soft_delete(record),
        sync_record(record),
        query_functions(record),
    ]
    .into_iter()
    .collect()
}

fn has_id(record: &Record) -> TokenStream {
    let core = record.core();
    let Field { ident, ty, .. } = &record.id;
    let generics = with_bound(record, ty, &quote!(::core::clone::Clone));
    implement(
        record,
        &generics,
        &quote!(#core::HasId<#ty>),
        &quote! {
            fn id(&self) -> #ty {
                ::core::clone::Clone::clone(&self.#ident)
            }
        },
    )
}

fn has_updated_at(record: &Record) -> TokenStream {
    let core = record.core();
    let trait_path = quote!(#core::HasUpdatedAt);
    time_accessor(
        record,
        &trait_path,
        "updated_at",
        "to_timestamp",
        record.updated_at.as_ref(),
    )
}

fn has_soft_delete(record: &Record) -> TokenStream {
    let core = record.core();
    let trait_path = quote!(#core::HasSoftDelete);
    time_accessor(
        record,
        &trait_path,
        "deleted_at",
        "to_deleted_at",
        record.deleted_at.as_ref(),
    )
}

/// An implementation of `trait_path` whose one method reads `field` through `TimeField`.
fn time_accessor(
    record: &Record,
    trait_path: &TokenStream,
    method: &str,
    conversion: &str,
    field: Option<&Field>,
) -> TokenStream {
    let core = record.core();
    let method = Ident::new(method, Span::call_site());
    let conversion = Ident::new(conversion, Span::call_site());
    let time_field = quote!(#core::TimeField);
    let (generics, body) = match field {
        None => (record.generics.clone(), quote!(::core::option::Option::None)),
        Some(Field { ident, ty, .. }) => (
            with_bound(record, ty, &time_field),
            quote!(<#ty as #time_field>::#conversion(&self.#ident)),
        ),
    };
    implement(
        record,
        &generics,
        trait_path,
        &quote! {
            fn #method(&self) -> ::core::option::Option<#core::Timestamp> {
                #body
            }
        },
    )
}

fn sync_record(record: &Record) -> TokenStream {
    let core = record.core();
    let id_type = &record.id.ty;
    let collection = &record.collection;
    let version = record
        .attributes
        .schema_version
        .as_ref()
        .map(|version| quote!(const SCHEMA_VERSION: u32 = #version;));
    let upgrade = record.attributes.upgrade.as_ref().map(|path| {
        let result = quote!(::core::result::Result<#core::JsonObject, ::std::string::String>);
        quote! {
            fn upgrade(fields: #core::JsonObject, from_version: u32) -> #result {
                // Through a pointer, so that a function of another type is one error that shows both types.
                let upgrade: fn(#core::JsonObject, u32) -> #result = #path;
                upgrade(fields, from_version)
            }
        }
    });
    let schema = schema(record);
    implement(
        record,
        &record_generics(record),
        &quote!(#core::SyncRecord),
        &quote! {
            type Id = #id_type;
            const COLLECTION: &'static str = #collection;
            #version
            #schema
            #upgrade
        },
    )
}

fn schema(record: &Record) -> TokenStream {
    let core = record.core();
    let id = &record.id.name;
    let updated_at = record.updated_at.iter().map(|field| &field.name);
    let deleted_at = record.deleted_at.iter().map(|field| &field.name);
    let indexes = &record.indexes;
    let composite_indexes = record.composite_indexes.iter().map(|fields| {
        let fields = fields.iter().map(|(name, descending)| match descending {
            true => quote!(#core::query::OrderBy::desc(#name)),
            false => quote!(#core::query::OrderBy::asc(#name)),
        });
        quote!([#(#fields),*])
    });
    let (parent_fields, parent_collections): (Vec<_>, Vec<_>) = record.parents.iter().cloned().unzip();
    let checked = "the derive has checked the names of collections";
    quote! {
        fn schema() -> #core::CollectionSchema {
            #core::CollectionSchema::of::<Self>(#id)
                .expect(#checked)
                #(.with_updated_at(#updated_at))*
                #(.with_deleted_at(#deleted_at))*
                #(.with_index(#indexes))*
                #(.with_composite_index(#composite_indexes))*
                #(.with_parent(#parent_fields, #parent_collections).expect(#checked))*
        }
    }
}

fn query_functions(record: &Record) -> TokenStream {
    if record.attributes.no_fields.is_some() {
        return TokenStream::new();
    }
    let core = record.core();
    let visibility = &record.visibility;
    let functions = record
        .queryable
        .iter()
        .filter(|field| !is_taken(&field.ident))
        .map(|field| {
            let Field { ident, ty, name } = field;
            let doc = format!("The field `{name}`, for queries.");
            // Placed at the field, which is where a method of the same name collides.
            let place = Span::call_site().located_at(ident.span());
            quote_spanned! {place=>
                #[doc = #doc]
                #visibility const fn #ident() -> #core::query::Field<#ty> {
                    #core::query::Field::new(#name)
                }
            }
        });
    let ident = &record.ident;
    let (impl_generics, type_generics, where_clause) = record.generics.split_for_impl();
    quote! {
        // A record need not be queried by every field, and a field may be more private than its struct.
        #[allow(dead_code, private_interfaces, non_snake_case, clippy::new_ret_no_self, clippy::should_implement_trait)]
        impl #impl_generics #ident #type_generics #where_clause {
            #(#functions)*
        }
    }
}

fn is_taken(ident: &Ident) -> bool {
    TAKEN_NAMES.iter().any(|taken| ident.unraw() == taken)
}

fn implement(
    record: &Record,
    generics: &Generics,
    trait_path: &TokenStream,
    items: &TokenStream,
) -> TokenStream {
    let ident = &record.ident;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #impl_generics #trait_path for #ident #type_generics #where_clause {
            #items
        }
    }
}

/// The struct's generics with `ty: bound` added. Without type parameters nothing is added, so that the compiler's
/// message about a missing implementation points at the field.
fn with_bound(record: &Record, ty: &syn::Type, bound: &TokenStream) -> Generics {
    let mut generics = record.generics.clone();
    if generics.type_params().next().is_some() {
        generics
            .make_where_clause()
            .predicates
            .push(parse_quote!(#ty: #bound));
    }
    generics
}

/// The struct's generics with all that `SyncRecord` asks of its implementors.
fn record_generics(record: &Record) -> Generics {
    let core = record.core();
    let mut generics = record.generics.clone();
    if generics.type_params().next().is_none() {
        return generics;
    }
    let id_type = &record.id.ty;
    let predicates = &mut generics.make_where_clause().predicates;
    predicates.push(parse_quote!(#id_type: #core::IdText));
    for field in record.updated_at.iter().chain(&record.deleted_at) {
        let ty = &field.ty;
        predicates.push(parse_quote!(#ty: #core::TimeField));
    }
    predicates.push(parse_quote! {
        Self: ::core::clone::Clone
            + ::core::marker::Send
            + ::core::marker::Sync
            + ::serde::Serialize
            + ::serde::de::DeserializeOwned
            + 'static
    });
    generics
}

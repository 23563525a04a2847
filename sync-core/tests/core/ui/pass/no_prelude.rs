//! The generated code relies on no name in scope.

mod shadowed {
    #![allow(non_camel_case_types, dead_code)]

    pub struct Option;
    pub struct Result;
    pub struct String;
    pub trait Clone {}
    pub mod core {}
    pub mod std {}
    pub mod sync_core {}

    #[derive(::core::clone::Clone, ::serde::Serialize, ::serde::Deserialize, ::sync_core::SyncRecord)]
    #[sync(schema_version = 2, upgrade = super::keep)]
    pub struct Record {
        #[sync(id)]
        pub id: u64,
        #[sync(index, parent = "parents")]
        pub parent: ::core::option::Option<u64>,
        #[sync(updated_at)]
        pub at: i64,
        #[sync(deleted_at)]
        pub gone: bool,
    }
}

fn keep(fields: sync_core::JsonObject, _: u32) -> Result<sync_core::JsonObject, String> {
    Ok(fields)
}

fn main() {
    let schema = <shadowed::Record as sync_core::SyncRecord>::schema();
    assert_eq!(schema.indexes, ["parent"]);
    let _: sync_core::query::Field<Option<u64>> = shadowed::Record::parent();
}

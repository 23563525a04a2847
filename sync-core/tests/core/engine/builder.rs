//! What is refused before anything can go wrong.

use std::sync::Arc;

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use sync_core::{
    CollectionSchema, EngineOptions, ErrorKind, SyncEngine, SyncEngineBuilder, SyncError,
    resolve::LastWriteWins,
};

use super::{time::TimedEffects, world::Todo};

fn builder(remote: MemoryRemoteStore) -> SyncEngineBuilder {
    SyncEngine::builder(Arc::new(MemoryLocalStore::new()), Arc::new(remote))
}

async fn refused(builder: SyncEngineBuilder) -> SyncError {
    let error = builder.build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    error
}

fn schema(name: &str) -> CollectionSchema {
    CollectionSchema::untyped(name, "id").unwrap()
}

#[tokio::test]
async fn capabilities_without_a_sound_strategy_are_refused_by_name() {
    let remote = MemoryRemoteStore::builder()
        .timestamp_profile(std::time::Duration::from_secs(1))
        .adjust(|can| can.id_list = false)
        .build();
    let error = refused(builder(remote).register::<Todo>()).await;
    assert_eq!(error.field(), Some("capabilities.id_list"));
    assert_eq!(error.adapter(), Some("memory"));
}

#[tokio::test]
async fn registering_nothing_or_something_twice_is_refused() {
    let error = refused(builder(MemoryRemoteStore::new())).await;
    assert!(error.to_string().contains("call `register`"), "{error}");
    let twice = builder(MemoryRemoteStore::new())
        .register::<Todo>()
        .register::<Todo>();
    let error = refused(twice).await;
    assert!(error.to_string().contains("todos"), "{error}");
}

#[tokio::test]
async fn parents_that_form_a_cycle_are_refused_and_trees_are_not() {
    let cycle = builder(MemoryRemoteStore::new())
        .register_schema(schema("a").with_parent("b_id", "b").unwrap(), LastWriteWins)
        .register_schema(schema("b").with_parent("c_id", "c").unwrap(), LastWriteWins)
        .register_schema(schema("c").with_parent("a_id", "a").unwrap(), LastWriteWins);
    let error = refused(cycle).await;
    assert_eq!(error.field(), Some("parent"));
    assert!(
        ["\"a\"", "\"b\"", "\"c\""]
            .iter()
            .all(|name| error.to_string().contains(name)),
        "{error}"
    );
    let tree = schema("a").with_parent("parent_id", "a").unwrap();
    let unregistered = schema("b").with_parent("x_id", "elsewhere").unwrap();
    let sound = builder(MemoryRemoteStore::new())
        .register_schema(tree, LastWriteWins)
        .register_schema(unregistered, LastWriteWins);
    sound.build().await.unwrap();
}

#[tokio::test]
async fn a_lease_shorter_than_a_call_is_refused() {
    let options = EngineOptions::default().with_lease_time(std::time::Duration::from_secs(5));
    let error = refused(
        builder(MemoryRemoteStore::new())
            .register::<Todo>()
            .options(options),
    )
    .await;
    assert_eq!(error.field(), Some("options.lease_time"));
}

#[test]
fn outside_a_runtime_the_builder_asks_for_effects() {
    let build = builder(MemoryRemoteStore::new()).register::<Todo>().build();
    let error = futures::FutureExt::now_or_never(build).unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Configuration, Some("effects"))
    );
    assert!(error.to_string().contains("inside a tokio runtime"), "{error}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let effects = runtime.block_on(async { TimedEffects::new(1).effects });
    let build = builder(MemoryRemoteStore::new())
        .register::<Todo>()
        .effects(effects)
        .build();
    futures::FutureExt::now_or_never(build).unwrap().unwrap();
}

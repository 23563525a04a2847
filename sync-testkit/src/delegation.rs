//! Passing calls of a local store on to another.

/// The types of the methods, for the macro.
pub mod types {
    pub use std::time::Duration;

    pub use futures::{future::BoxFuture, stream::BoxStream};
    pub use sync_core::{
        ChangeSet, CollectionSchema, CommitOutcome, ConflictQuery, ConflictRecord, EvictionCandidate,
        EvictionQuery, Fence, LeaseAnswer, LocalRecord, OpCounts, OpQuery, PendingOp, QuarantinedRow,
        RecordId, RecordKey, RecordState, RecordSummary, Result, Stamp, StoreChange, StoreInfo, SyncScope,
        Target, TargetState, Timestamp,
        query::{Filter, QuerySpec},
    };
    pub use uuid::Uuid;
}

/// Writes those methods of a [`LocalStore`](sync_core::LocalStore) that only pass the call on to the store in a field.
///
/// For stores around another that do one thing differently: a fault, a count, a mistake. Name the field, and the
/// methods that are not written out; the compiler tells which are missing. The field holds a `LocalStore`, or an `Arc`
/// of one.
///
/// ```
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use sync_core::{ChangeSet, CommitOutcome, ErrorKind, LocalStore, Result, SyncError};
///
/// /// A store on a disk without room.
/// #[derive(Debug)]
/// struct FullStore {
///     inner: Arc<dyn LocalStore>,
/// }
///
/// #[async_trait]
/// impl LocalStore for FullStore {
///     async fn commit(&self, _changes: ChangeSet) -> Result<CommitOutcome> {
///         Err(SyncError::new(ErrorKind::Full, "the disk is full"))
///     }
///
///     sync_testkit::delegate_local_store!(
///         inner: info, register, load_clock, load_setting, load_records, load_summaries, query, count, load_target,
///         list_targets, load_ops, count_ops, load_conflicts, load_quarantine, load_unmarked, load_eviction_candidates,
///         approx_size, acquire_lease, release_lease, changes, close
///     );
/// }
/// ```
#[macro_export]
macro_rules! delegate_local_store {
    ($inner:ident: $($method:ident),+ $(,)?) => {
        $($crate::delegate_local_store!(@method $inner $method);)+
    };
    (@method $inner:ident info) => {
        fn info(&self) -> $crate::store_types::StoreInfo {
            self.$inner.info()
        }
    };
    (@method $inner:ident changes) => {
        fn changes(&self) -> $crate::store_types::BoxStream<'static, $crate::store_types::StoreChange> {
            self.$inner.changes()
        }
    };
    (@method $inner:ident register) => {
        $crate::delegate_local_store!(
            @call $inner register<'s>(schemas: &'s [$crate::store_types::CollectionSchema]) -> ()
        );
    };
    (@method $inner:ident load_clock) => {
        $crate::delegate_local_store!(@call $inner load_clock<>() -> Option<$crate::store_types::Stamp>);
    };
    (@method $inner:ident load_setting) => {
        $crate::delegate_local_store!(@call $inner load_setting<'n>(name: &'n str) -> Option<String>);
    };
    (@method $inner:ident load_records) => {
        $crate::delegate_local_store!(
            @call $inner load_records<'k>(
                keys: &'k [$crate::store_types::RecordKey]
            ) -> Vec<$crate::store_types::RecordState>
        );
    };
    (@method $inner:ident load_summaries) => {
        $crate::delegate_local_store!(
            @call $inner load_summaries<'t, 'i>(
                target: &'t $crate::store_types::Target,
                ids: &'i [$crate::store_types::RecordId]
            ) -> Vec<$crate::store_types::RecordSummary>
        );
    };
    (@method $inner:ident query) => {
        $crate::delegate_local_store!(
            @call $inner query<'t, 'q>(
                target: &'t $crate::store_types::Target,
                spec: &'q $crate::store_types::QuerySpec
            ) -> Vec<$crate::store_types::LocalRecord>
        );
    };
    (@method $inner:ident count) => {
        $crate::delegate_local_store!(
            @call $inner count<'t, 'f>(
                target: &'t $crate::store_types::Target,
                filter: Option<&'f $crate::store_types::Filter>
            ) -> u64
        );
    };
    (@method $inner:ident load_target) => {
        $crate::delegate_local_store!(
            @call $inner load_target<'t>(
                target: &'t $crate::store_types::Target
            ) -> $crate::store_types::TargetState
        );
    };
    (@method $inner:ident list_targets) => {
        $crate::delegate_local_store!(@call $inner list_targets<>() -> Vec<$crate::store_types::Target>);
    };
    (@method $inner:ident load_ops_with_records) => {
        $crate::delegate_local_store!(
            @call $inner load_ops_with_records<'q>(
                query: &'q $crate::store_types::OpQuery
            ) -> Vec<$crate::store_types::RecordState>
        );
    };
    (@method $inner:ident load_ops) => {
        $crate::delegate_local_store!(
            @call $inner load_ops<'q>(
                query: &'q $crate::store_types::OpQuery
            ) -> Vec<$crate::store_types::PendingOp>
        );
    };
    (@method $inner:ident count_ops) => {
        $crate::delegate_local_store!(
            @call $inner count_ops<'s>(
                scope: Option<&'s $crate::store_types::SyncScope>
            ) -> $crate::store_types::OpCounts
        );
    };
    (@method $inner:ident load_conflicts) => {
        $crate::delegate_local_store!(
            @call $inner load_conflicts<'q>(
                query: &'q $crate::store_types::ConflictQuery
            ) -> Vec<$crate::store_types::ConflictRecord>
        );
    };
    (@method $inner:ident load_quarantine) => {
        $crate::delegate_local_store!(
            @call $inner load_quarantine<'t>(
                target: Option<&'t $crate::store_types::Target>,
                limit: u64
            ) -> Vec<$crate::store_types::QuarantinedRow>
        );
    };
    (@method $inner:ident load_unmarked) => {
        $crate::delegate_local_store!(
            @call $inner load_unmarked<'t, 'a>(
                target: &'t $crate::store_types::Target,
                generation: u64,
                after: Option<&'a $crate::store_types::RecordId>,
                limit: u64
            ) -> Vec<$crate::store_types::RecordId>
        );
    };
    (@method $inner:ident load_eviction_candidates) => {
        $crate::delegate_local_store!(
            @call $inner load_eviction_candidates<'q>(
                query: &'q $crate::store_types::EvictionQuery
            ) -> Vec<$crate::store_types::EvictionCandidate>
        );
    };
    (@method $inner:ident approx_size) => {
        $crate::delegate_local_store!(
            @call $inner approx_size<'t>(target: Option<&'t $crate::store_types::Target>) -> u64
        );
    };
    (@method $inner:ident commit) => {
        $crate::delegate_local_store!(
            @call $inner commit<>(
                changes: $crate::store_types::ChangeSet
            ) -> $crate::store_types::CommitOutcome
        );
    };
    (@method $inner:ident acquire_lease) => {
        $crate::delegate_local_store!(
            @call $inner acquire_lease<'n>(
                name: &'n str,
                holder: $crate::store_types::Uuid,
                now: $crate::store_types::Timestamp,
                time: $crate::store_types::Duration
            ) -> $crate::store_types::LeaseAnswer
        );
    };
    (@method $inner:ident release_lease) => {
        $crate::delegate_local_store!(
            @call $inner release_lease<'f>(fence: &'f $crate::store_types::Fence) -> ()
        );
    };
    (@method $inner:ident close) => {
        $crate::delegate_local_store!(@call $inner close<>() -> ());
    };
    // Written as `async_trait` writes its methods, since it does not see into a macro.
    (@call $inner:ident $method:ident<$($life:lifetime),*>($($argument:ident: $type:ty),*) -> $answer:ty) => {
        fn $method<'store, $($life,)* 'call>(
            &'store self,
            $($argument: $type),*
        ) -> $crate::store_types::BoxFuture<'call, $crate::store_types::Result<$answer>>
        where
            'store: 'call,
            $($life: 'call,)*
            Self: 'call,
        {
            self.$inner.$method($($argument),*)
        }
    };
}

//! Where a real Appwrite differs from what one would expect, one named flag each.
//!
//! Every flag cites the recorded exchanges that show it. A test switches each flag off in turn and demands
//! that the replay of the recordings then fails: a flag that no recording pins cannot exist.

use std::collections::BTreeSet;

macro_rules! quirks {
    ($($(#[doc = $doc:literal])+ $name:ident [$($case:literal),+];)+) => {
        /// One way in which a real Appwrite differs from the expected.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Quirk {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Quirk {
            /// All of them.
            pub const ALL: &'static [Quirk] = &[$(Quirk::$name),+];

            /// The recorded cases that show it.
            #[must_use]
            pub const fn cases(self) -> &'static [&'static str] {
                match self {
                    $(Quirk::$name => &[$($case),+],)+
                }
            }
        }
    };
}

quirks! {
    /// `$sequence` is text; 1.8 sends a number.
    SequenceIsText["create.ok"];
    /// A write that fails or that changes an existing row by upsert still uses up a number of `$sequence`.
    SequenceBurnedByOtherWrites["create.dup", "create.unique", "upsert.update"];
    /// A body that is not JSON is told as missing data.
    MalformedJsonIsMissingData["create.malformed_json"];
    /// Null for a column with a default stores the default.
    DefaultReplacesNull["update.null_optional"];
    /// What is finer than a millisecond is cut off a date.
    DatesCutToMillis["create.datetime_micro"];
    /// An API key may set `$createdAt` and `$updatedAt`, so that `$updatedAt` can go back.
    KeysSetDates["create.dates_by_key", "update.dates_by_key", "upsert.dates_by_key"];
    /// `Ab` and `ab` are the same id.
    IdsIgnoreCase["create.id.lower.dup_case", "get.case_insensitive", "get.equal_case"];
    /// A PATCH under another spelling of the id renames the row.
    PatchRenamesIdCase["update.case"];
    /// Text is compared without regard to case.
    TextComparedWithoutCase["list.equal_text_ci"];
    /// A PATCH that changes nothing still sends a realtime event.
    NoopPatchSendsEvent["events.table_channel.update_noop"];
    /// A PATCH that changes nothing needs no permission to update, only to read.
    NoopPatchNeedsReadOnly["rls.unshare.noop_perm"];
    /// An upsert answers 200, where the OpenAPI file says 201.
    UpsertAnswers200["upsert.create", "bulk.upsert"];
    /// PUT does not look at `X-Appwrite-Timestamp`.
    UpsertIgnoresTimestampHeader["upsert.ts_stale"];
    /// An upsert with fewer columns than the table has rewrites the row, even with equal values.
    PartialUpsertAlwaysWrites["upsert.noop"];
    /// The columns an upsert leaves out are filled from a read made before the row is locked, which takes
    /// back what another writer changed in between.
    UpsertFillsFromEarlierRead["race.upsert_partial", "race.bulk_upsert_partial"];
    /// An upsert of a new id that meets a unique index overwrites the row that owns the value.
    UpsertOverwritesUniqueOwner["uniq.upsert_violation", "uniq.bulk_upsert_violation"];
    /// An upsert without permissions takes those of the row and demands that the caller may give them.
    UpsertInheritsPermissions["upsert.session.bob_updates"];
    /// A violated unique index is told as an existing row, under the id of the new one.
    UniqueViolationIsAlreadyExists["uniq.create_violation", "uniq.patch_violation"];
    /// Text that reads as an operator is executed on an update.
    OperatorTextExecuted["update.op_string_in_text"];
    /// The answer to an increment carries the old `$updatedAt`.
    IncrementAnswersOldStamp["increment.ok", "decrement.ok"];
    /// An increment of a missing row says that a column named `%s` is missing.
    IncrementOfMissingRowNamesColumn["increment.missing_row"];
    /// A write to a row that the caller may not see is refused as unauthorized, not as missing.
    HiddenRowWriteIsUnauthorized["rls.update.bob_hidden", "rls.delete.bob_hidden"];
    /// Bulk writes by a session say that the database is missing.
    BulkBySessionAnswers404["bulk.upsert.session", "bulk.update.session", "bulk.delete.session"];
    /// A bulk upsert stores ids that a single write refuses.
    BulkUpsertSkipsIdRules["bulk.upsert_bad_id", "bulk.upsert_long_id"];
    /// A bulk upsert answers only the rows it changed.
    BulkUpsertAnswersChangedOnly["bulk.upsert_noop_one"];
    /// The duplicate in a bulk create is told without its id.
    BulkDuplicateHasNoId["bulk.create_dup_one"];
    /// All rows of a bulk write share one `$updatedAt`.
    BulkSharesOneStamp["bulk.create", "bulk.upsert_100"];
    /// `total=false` counts all the same; only `total=0` does not.
    TotalFalseIgnored["list.total_false"];
    /// `ttl` serves cached lists.
    ListsCachedByTtl["list.ttl60", "list.ttl60_again"];
    /// The cursor row is read again on the next page, so that rows are skipped when it changed meanwhile.
    CursorRowReadAgain["page2.cursorAfter_after_touch"];
    /// A staged upsert with a row id but no `$id` in its data commits under a random id.
    StagedUpsertNeedsIdInData["tx.t1", "tx.upsert_without_dollar_id_lands_under_random_id"];
    /// Rows created by staged operations get no permissions for their creator.
    StagedRowsLackCreatorPermissions["tx.session.row_ta_perms", "tx.rls.get_own_without_perms"];
    /// Errors of transactions speak of documents.
    TransactionErrorsSayDocument["tx.ops_delete_missing", "tx.badstruct.commit"];
    /// A staged create of an existing id is told as a conflict of the transaction.
    StagedDuplicateIsConflict["tx.dup.commit"];
    /// The answer to a staged write lacks the dates and the sequence.
    StagedAnswersAreMocks["tx.stage.createRow", "tx.stage.updateRow"];
    /// The answer to staged operations has the `$updatedAt` from before.
    StagingAnswersOldStamp["tx.ops"];
    /// The event of a committed upsert is named `update`.
    CommittedUpsertEventIsUpdate["events.tx.tx_committed"];
    /// Bulk operations in a transaction send no events.
    CommittedBulkSendsNoEvent["events.tx.tx_committed"];
    /// The event of a committed operation shows the row after the whole transaction, without `$databaseId`.
    CommittedPayloadDiffers["events.tx.tx_committed"];
    /// The events of bulk writes carry an internal name.
    BulkPayloadLeaksCollection["events.table_channel.bulk_upsert"];
    /// Rate limits count per method and route, so all tables share them.
    RateLimitSharedByTables["rl.after.other_table"];
    /// The first account answer after a login shows `accessedAt` in the database's form, beside the old
    /// `$updatedAt`.
    FirstAccessInDatabaseForm["account.get.session_header"];
    /// The health of the clock needs an outbound time server, and is an error without one.
    HealthTimeFails["health.time.key"];
    /// An unknown route answers a page for people.
    UnknownRouteAnswersHtml["route.unknown"];
    /// A column or an index is answered while it is still built, and can be used some milliseconds later.
    BuiltAfterTheAnswer["t2c", "u.i"];
    /// A refused realtime connection ends without a close frame.
    RealtimeClosesWithoutFrame["connect.bad_project"];
}

/// The set of quirks a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quirks(BTreeSet<Quirk>);

impl Quirks {
    /// Every quirk.
    #[must_use]
    pub fn all() -> Self {
        Self(Quirk::ALL.iter().copied().collect())
    }

    /// Every quirk but this one.
    #[must_use]
    pub fn without(mut self, quirk: Quirk) -> Self {
        self.0.remove(&quirk);
        self
    }

    /// Whether the server has this quirk.
    #[must_use]
    pub fn has(&self, quirk: Quirk) -> bool {
        self.0.contains(&quirk)
    }
}

/// Which version of Appwrite is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// 1.8.1: `$sequence` is a number.
    V1_8_1,
    /// 1.9.6, the version that was recorded.
    V1_9_6,
}

impl Profile {
    /// The quirks of this version.
    #[must_use]
    pub fn quirks(self) -> Quirks {
        match self {
            Self::V1_8_1 => Quirks::all().without(Quirk::SequenceIsText),
            Self::V1_9_6 => Quirks::all(),
        }
    }

    /// The version as errors and `/health/version` tell it.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1_8_1 => "1.8.1",
            Self::V1_9_6 => "1.9.6",
        }
    }
}

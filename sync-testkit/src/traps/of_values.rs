//! Traps that traces have no words for: other backends, schemas, queries and values.

use super::{Body, Double, Trap, code};

pub(super) const OF_VALUES: &[Trap] = &[
    Trap {
        name: "a_late_commit_behind_the_cursor",
        lost: "A row whose time was taken at the start of its transaction lay behind every cursor when it was committed.",
        sources: &["peers 1: airbyte#9668, #85918, lifeCc#44, RxDB's Supabase plugin"],
        body: Body::Code(code::late_commit),
        double: Double::Within(
            "a remote that announces times taken before the commit as the order of commits: `ClaimsCommitOrder`",
        ),
    },
    Trap {
        name: "numbers_taken_before_the_commit",
        lost: "Two transactions committed in the other order than they took their numbers, and the first was skipped.",
        sources: &["peers 2: windmill PR#10894, taproot-assets PR#2202"],
        body: Body::Code(code::numbers_taken_before_the_commit),
        double: Double::Within(
            "a remote that announces numbers taken before the commit as the order of commits",
        ),
    },
    Trap {
        name: "a_row_of_an_unknown_kind",
        lost: "One row that the client did not understand failed every pull, or was passed by for ever.",
        sources: &[
            "peers 6: Dexie.js#2331, Evolu's quarantine",
            "RCS-38",
            "DDS-13",
            "PS-09",
        ],
        body: Body::Code(code::a_row_of_an_unknown_kind),
        double: Double::Within("a remote with the mistake `FailsOnMalformedRows`"),
    },
    Trap {
        name: "a_new_schema_with_a_full_queue",
        lost: "After an app update, operations in the old shape were sent to a server that knew the new one.",
        sources: &["peers 27: realm-js#6603, jazz#2999, cht-core#2012", "PS-24"],
        body: Body::Code(code::a_new_schema_with_a_full_queue),
        double: Double::Within("a record type without an upgrade"),
    },
    Trap {
        name: "a_stale_page_from_a_cache",
        lost: "An intermediary answered with an old page, and newer rows were overwritten.",
        sources: &["peers 34: electric PR#3625, #3828, #4638"],
        body: Body::Code(code::a_stale_page),
        double: Double::Within("a remote whose versions have no order"),
    },
    Trap {
        name: "a_stale_row_beside_the_new_one",
        lost: "An old page and a new one were applied together, the old one last, and the cursor had passed the new one.",
        sources: &["peers 34: electric PR#3625, #3828, #4638"],
        body: Body::Code(code::a_stale_row_beside_the_new_one),
        double: Double::Within("a remote whose versions have no order"),
    },
    Trap {
        name: "a_stale_page_revives_a_deleted_record",
        lost: "A page fetched before a delete brought the record back.",
        sources: &["RCS-23", "peers 18: resurrection"],
        body: Body::Code(code::a_stale_page_after_a_delete),
        double: Double::Within("a remote whose versions have no order"),
    },
    Trap {
        name: "one_query_two_answers",
        lost: "The same query answered differently on each store.",
        sources: &["RCS-33"],
        body: Body::Code(code::one_query_two_answers),
        double: Double::Within("a store with the mistake `SortsNullsLast`"),
    },
    Trap {
        name: "scope_keys_in_the_order_of_writing",
        lost: "Equal scopes whose keys were given in another order had caches and cursors of their own.",
        sources: &["RCS-31"],
        body: Body::Code(code::scope_keys_in_the_order_of_writing),
        double: Double::Within("keys joined as they come"),
    },
    Trap {
        name: "times_as_texts",
        lost: "Times of mixed precision were compared as texts, and the older one won.",
        sources: &["RCS-32", "DDS-11"],
        body: Body::Code(code::times_as_texts),
        double: Double::Within("texts with as many digits as needed"),
    },
];

//! Traps of rights, clocks, restarts and limits that other engines fell into.

use super::{Body, Double, Trap};
use crate::{
    naive::StoreMistake,
    traces::{ClientMistake, Subject},
};

pub(super) const OF_OPERATION: &[Trap] = &[
    Trap {
        name: "rows_of_a_revoked_scope_stay",
        lost: "After access was taken away, the rows stayed on the device.",
        sources: &["peers 20: Kinto#467, jazz#2521, ndb-core PR#4315"],
        body: Body::Trace("scope-revoked-rows-leave-and-writes-are-kept"),
        double: Double::Subject(Subject::Naive(ClientMistake::KeepsRevokedRows)),
    },
    Trap {
        name: "rows_granted_again_are_older_than_the_cursor",
        lost: "Rows that became visible had changed long ago, and a cursor never delivered them.",
        sources: &["peers 21: WatermelonDB#1264, replication-backend#7"],
        body: Body::Trace("scope-granted-again-brings-the-rows-back"),
        double: Double::Subject(Subject::Naive(ClientMistake::KeepsCursorOfRevokedScope)),
    },
    Trap {
        name: "operations_sent_out_of_order",
        lost: "Operations were sent by table or by id, children before their parents.",
        sources: &[
            "peers 22: azure-mobile-services#871, todofy PR#8, cht-core#6103",
            "PS-23",
        ],
        body: Body::Trace("order-batches-keep-the-queue-order"),
        double: Double::Subject(Subject::Naive(ClientMistake::SortsByIds)),
    },
    Trap {
        name: "operations_sorted_by_the_clock",
        lost: "After the clock was set back, an update was sent before its create.",
        sources: &["SC-09", "PS-14"],
        body: Body::Trace("trap-update-with-a-clock-set-back"),
        double: Double::Subject(Subject::Naive(ClientMistake::SortsByClock)),
    },
    Trap {
        name: "a_fast_clock_wins_over_causality",
        lost: "An edit made by someone who had seen the record lost to it, for its clock was slower.",
        sources: &["peers 23: WatchShelf#61, hologram#1135", "PS-13"],
        body: Body::Trace("conflict-causality-beats-clocks"),
        double: Double::Subject(Subject::Naive(ClientMistake::ClockBeatsCausality)),
    },
    Trap {
        name: "a_clock_of_years_ahead",
        lost: "One device with a wrong clock won every conflict until its time had come.",
        sources: &["peers 24: evolu#709, hlclock PR#22, nodedb#264", "DDS-12"],
        body: Body::Trace("clock-of-years-ahead-does-not-win-for-ever"),
        double: Double::Subject(Subject::Naive(ClientMistake::ClockBeatsCausality)),
    },
    Trap {
        name: "no_writes_while_the_clock_is_behind",
        lost: "With the clock set back, the user could not write at all.",
        sources: &["DDS-16"],
        body: Body::Trace("trap-writes-while-the-clock-is-behind"),
        double: Double::Subject(Subject::Naive(ClientMistake::RefusesWhenClockIsBehind)),
    },
    Trap {
        name: "a_clock_that_forgets_at_restart",
        lost: "After a restart with the clock set back, newer edits lost against older ones.",
        sources: &["DDS-10"],
        body: Body::Trace("restart-keeps-the-clock"),
        double: Double::Subject(Subject::Naive(ClientMistake::StampsAreTheWallClock)),
    },
    Trap {
        name: "an_expired_sign_in_burns_operations",
        lost: "While the token was expired, operations were given up as refused.",
        sources: &["peers 25: brick#585, yegobox/flipper PR#584, auth-js#141"],
        body: Body::Trace("poison-unauthenticated-parks-nothing"),
        double: Double::Subject(Subject::Naive(ClientMistake::AuthFailureIsRefusal)),
    },
    Trap {
        name: "written_before_the_sign_in_marked_as_sent",
        lost: "What was written while signed out was marked as sent, and never was.",
        sources: &["PS-04"],
        body: Body::Trace("poison-unauthenticated-parks-nothing"),
        double: Double::Subject(Subject::Naive(ClientMistake::SwallowsFailures)),
    },
    Trap {
        name: "clearing_the_cache_discards_writes",
        lost: "Clearing the cache, or signing out, discarded what was not sent yet.",
        sources: &[
            "peers 26: boardsesh#4315, waves PR#783, simperium-ios#260",
            "RCS-29",
            "PS-24",
        ],
        body: Body::Trace("resync-wipe-cache-keeps-the-outbox"),
        double: Double::Subject(Subject::Naive(ClientMistake::WipeTakesTheQueue)),
    },
    Trap {
        name: "two_processes_send_at_once",
        lost: "Two processes sent the same operations at the same time.",
        sources: &[
            "peers 28: broadcast-channel#385, tab-election#3, wq.app#102",
            "RCS-19",
        ],
        body: Body::Trace("trap-two-processes-send-once"),
        double: Double::Subject(Subject::EngineOnStore(StoreMistake::ForgetsLeases)),
    },
    Trap {
        name: "a_full_disk_passes_unnoticed",
        lost: "With the disk full, writes seemed to succeed and were gone.",
        sources: &["peers 29: firebase-js-sdk#5031, #2755"],
        body: Body::Trace("outbox-disk-full-leaves-nothing"),
        double: Double::Subject(Subject::Naive(ClientMistake::IgnoresStoreErrors)),
    },
    Trap {
        name: "batches_larger_than_the_server_takes",
        lost: "Everything was sent in one request, which the server refused.",
        sources: &["peers 30: sqlite-data#333, #432"],
        body: Body::Trace("limit-push-batch"),
        double: Double::Subject(Subject::Naive(ClientMistake::IgnoresBatchLimit)),
    },
    Trap {
        name: "a_first_pull_that_begins_anew",
        lost: "An interrupted first pull began from nothing each time, and never ended.",
        sources: &["peers 31: WatermelonDB#948, cht-core#7528, pouchdb#6612"],
        body: Body::Trace("trap-interrupted-first-pull-goes-on"),
        double: Double::Subject(Subject::Naive(ClientMistake::StoresPagesAtTheEnd)),
    },
    Trap {
        name: "missed_events_are_never_asked_for",
        lost: "Changes made while the connection was down never came: only events were applied.",
        sources: &["peers 32: legend-state#362, #583"],
        body: Body::Trace("cursor-rejoin-after-many-changes"),
        double: Double::Subject(Subject::Naive(ClientMistake::OnlyAppliesEvents)),
    },
    Trap {
        name: "an_acknowledged_write_flickers",
        lost: "Between answer and pull, the old value showed again.",
        sources: &["peers 33: TanStack/db#1602"],
        body: Body::Trace("trap-acknowledged-write-stays-visible"),
        double: Double::Subject(Subject::Naive(ClientMistake::DropsOverlayAtAnswer)),
    },
    Trap {
        name: "a_restored_server_goes_unnoticed",
        lost: "After the server was restored from a backup, its new rows lay behind the old cursor.",
        sources: &["peers 35: realm-js#3548, LiveStore backendId"],
        body: Body::Trace("resync-writes-after-a-restore-arrive"),
        double: Double::Subject(Subject::Naive(ClientMistake::IgnoresResync)),
    },
    Trap {
        name: "a_resync_drops_the_queue",
        lost: "Starting over after a restored backup threw away what was not sent yet.",
        sources: &["peers 35: realm-js#3548", "RCS-41"],
        body: Body::Trace("trap-resync-by-a-pull-keeps-the-queue"),
        double: Double::Subject(Subject::Naive(ClientMistake::ResyncDropsQueue)),
    },
];

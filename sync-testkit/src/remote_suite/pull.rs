//! Pulling: no change is skipped, whatever happens between pages.

use std::collections::BTreeMap;

use sync_core::{CursorKind, DeltaKind, ErrorKind, PullRequest, RecordId, SyncPoint};

use super::{context::RemoteContext, replica::Replica};
use crate::case::{Case, Stop, Verdict, cases, ensure, ensure_eq, give_way};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "P5" a_first_pass_delivers_every_record_in_pages_of_any_size,
        "P5 P17" a_record_written_once_is_delivered_once_in_a_first_pass,
        "P5" a_page_asked_for_again_delivers_the_same_records,
        "P5" records_changed_between_pages_arrive,
        "P5" records_deleted_between_pages_are_gone,
        "P5" changes_made_after_a_pass_arrive_with_the_next,
        "P5" the_last_of_many_changes_arrives,
        "P4" a_pass_without_changes_returns_a_point_to_go_on_from,
        "P17" a_quiet_pull_repeats_no_more_than_the_cursor_needs,
        "P6" only_a_remote_without_a_cursor_needs_snapshots,
        "P5" no_change_is_lost_when_writers_and_a_reader_race,
        "P5" a_write_that_commits_behind_the_sync_point_arrives,
        "P4" an_unreadable_sync_point_demands_a_resync,
        "P4" a_pull_tells_states_as_get_does,
    ]
}

const RECORDS: u64 = 23;

async fn a_first_pass_delivers_every_record_in_pages_of_any_size(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=RECORDS).await?;
    let numbers: Vec<u64> = (1..=RECORDS).collect();
    for page_size in [1, 2, 7, 23, 1_000] {
        let mut replica = Replica::new(context.todos());
        replica.pull(context, page_size).await?;
        replica.ensure_holds(context, &numbers).await?;
    }
    Ok(())
}

async fn a_record_written_once_is_delivered_once_in_a_first_pass(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=RECORDS).await?;
    for page_size in [1, 2, 7, 1_000] {
        let pages = Replica::new(context.todos()).pull(context, page_size).await?;
        let mut times: BTreeMap<&RecordId, u32> = BTreeMap::new();
        for change in pages.iter().flat_map(|page| &page.changes) {
            *times.entry(&change.id).or_default() += 1;
        }
        let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        // A cursor by time reads back at every page, so there a repetition is the price of not skipping.
        let may_repeat = matches!(
            context.capabilities.cursor,
            CursorKind::TimestampWithRepair { .. }
        );
        ensure!(
            may_repeat || repeated.is_empty(),
            "with pages of {page_size}, these came twice: {repeated:?}"
        );
        ensure_eq!(
            times.len() as u64,
            RECORDS,
            "records that came with pages of {page_size}"
        );
    }
    Ok(())
}

async fn a_page_asked_for_again_delivers_the_same_records(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=7).await?;
    let mut since: Option<SyncPoint> = None;
    for _ in 0..100 {
        let request = PullRequest {
            target: context.todos(),
            since: since.clone(),
            page_size: 3,
            holds_nothing: false,
        };
        let first = context.remote.pull(request.clone()).await?;
        let again = context.remote.pull(request).await?;
        let ids = |delta: &sync_core::Delta| {
            delta
                .changes
                .iter()
                .map(|change| change.id.clone())
                .collect::<Vec<_>>()
        };
        ensure_eq!(
            ids(&again),
            ids(&first),
            "the records of a page asked for again, since {since:?}"
        );
        if !first.has_more {
            return Ok(());
        }
        since = Some(first.next);
    }
    Err(Stop::failed("a pass over 7 records has more than 100 pages of 3"))
}

async fn records_changed_between_pages_arrive(context: &RemoteContext<'_>) -> Verdict {
    // The same writes after the first page, after the second and so on: every page edge is a chance to lose one.
    for after_pages in 1..=3 {
        let context = RemoteContext::new(context.fixture, context.fixture.fresh().await);
        context.put_all(1..=7).await?;
        let mut replica = Replica::new(context.todos());
        let mut pass = replica.begin_pass(2);
        for _ in 0..after_pages {
            pass.step(&mut replica, &context).await?;
        }
        for number in [1, 4, 7] {
            context.retitle(number, "changed between pages").await?;
        }
        context.put(8, "made between pages").await?;
        while pass.step(&mut replica, &context).await? {}
        replica.sync(&context, 2).await?;
        replica.ensure_holds(&context, &[1, 2, 3, 4, 5, 6, 7, 8]).await?;
    }
    Ok(())
}

async fn records_deleted_between_pages_are_gone(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=7).await?;
    let mut replica = Replica::new(context.todos());
    let mut pass = replica.begin_pass(2);
    pass.step(&mut replica, context).await?;
    for number in [1, 4, 7] {
        context.apply(context.delete(&context.key(number), None)).await?;
    }
    while pass.step(&mut replica, context).await? {}
    replica.sync(context, 2).await?;
    replica.ensure_holds(context, &[2, 3, 5, 6]).await
}

async fn changes_made_after_a_pass_arrive_with_the_next(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    let mut replica = Replica::new(context.todos());
    replica.sync(context, 100).await?;
    context.retitle(2, "changed").await?;
    context.put(4, "new").await?;
    context.apply(context.delete(&context.key(3), None)).await?;
    replica.sync(context, 100).await?;
    replica.ensure_holds(context, &[1, 2, 4]).await
}

async fn the_last_of_many_changes_arrives(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    let mut replica = Replica::new(context.todos());
    for round in 0..6 {
        for number in [1, 3, 1] {
            context.retitle(number, &format!("round {round}")).await?;
        }
        replica.sync(context, 1).await?;
        replica.ensure_holds(context, &[1, 2, 3]).await?;
    }
    Ok(())
}

async fn a_pass_without_changes_returns_a_point_to_go_on_from(context: &RemoteContext<'_>) -> Verdict {
    let mut replica = Replica::new(context.todos());
    for _ in 0..3 {
        let pages = replica.pull(context, 10).await?;
        ensure!(
            pages.iter().all(|page| page.changes.is_empty()),
            "an empty remote delivered {pages:?}"
        );
    }
    context.put(1, "first").await?;
    replica.pull(context, 10).await?;
    replica.ensure_holds(context, &[1]).await
}

async fn a_quiet_pull_repeats_no_more_than_the_cursor_needs(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=5).await?;
    let mut replica = Replica::new(context.todos());
    replica.pull(context, 2).await?;
    let repeated: usize = replica
        .pull(context, 100)
        .await?
        .iter()
        .map(|page| page.changes.len())
        .sum();
    let most = match context.capabilities.cursor {
        CursorKind::CommitOrdered => 0,
        // What lies within the overlap is read again; without a cursor, everything is.
        _ => 5,
    };
    ensure!(
        repeated <= most,
        "{repeated} changes came again from a quiet remote, at most {most} may"
    );
    replica.ensure_holds(context, &[1, 2, 3, 4, 5]).await
}

async fn only_a_remote_without_a_cursor_needs_snapshots(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    let mut replica = Replica::new(context.todos());
    replica.pull(context, 2).await?;
    let later = replica.pull(context, 2).await?;
    let expected = if context.is_snapshot_only() {
        DeltaKind::Snapshot
    } else {
        DeltaKind::Incremental
    };
    ensure_eq!(later[0].kind, expected, "the kind of a pass from a sync point");
    Ok(())
}

async fn no_change_is_lost_when_writers_and_a_reader_race(context: &RemoteContext<'_>) -> Verdict {
    const WRITERS: u64 = 4;
    const WRITES: u64 = 10;
    let mut replica = Replica::new(context.todos());
    let writers = (0..WRITERS).map(|writer| async move {
        for write in 0..WRITES {
            context.put(writer * 100 + write, "made in the race").await?;
            give_way().await;
        }
        Ok::<(), Stop>(())
    });
    let reader = async {
        for _ in 0..2 * WRITES {
            replica.pull(context, 3).await?;
            give_way().await;
        }
        Ok::<(), Stop>(())
    };
    futures::try_join!(futures::future::try_join_all(writers), reader)?;
    replica.sync(context, 3).await?;
    let numbers: Vec<u64> = (0..WRITERS)
        .flat_map(|writer| (0..WRITES).map(move |write| writer * 100 + write))
        .collect();
    replica.ensure_holds(context, &numbers).await
}

async fn a_write_that_commits_behind_the_sync_point_arrives(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=2).await?;
    let key = context.key(9);
    let late = context
        .fixture
        .begin_late_write(&*context.remote, &key, context.titled(&key, "late"))
        .await;
    let Some(late) = late else {
        return Err(Stop::NotApplicable("hook begin_late_write"));
    };
    context.put(3, "in time").await?;
    let mut replica = Replica::new(context.todos());
    replica.sync(context, 10).await?;
    replica.ensure_holds(context, &[1, 2, 3]).await?;
    late.await;
    replica.sync(context, 10).await?;
    replica.ensure_holds(context, &[1, 2, 3, 9]).await
}

async fn an_unreadable_sync_point_demands_a_resync(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=2).await?;
    for text in [
        "",
        "not a sync point",
        "{\"epoch\":",
        "\u{1F980}",
        "-1",
        "99999999999999999999999999",
    ] {
        let request = PullRequest {
            target: context.todos(),
            since: Some(SyncPoint::new(text)),
            page_size: 10,
            holds_nothing: false,
        };
        match context.remote.pull(request).await {
            Err(error) => ensure_eq!(
                error.kind(),
                ErrorKind::ResyncRequired,
                "the kind of the error for {text:?}"
            ),
            Ok(delta) => {
                return Err(Stop::failed(format!(
                    "the sync point {text:?} was answered {delta:?}"
                )));
            }
        }
    }
    Ok(())
}

async fn a_pull_tells_states_as_get_does(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    context.retitle(2, "changed").await?;
    let mut replica = Replica::new(context.todos());
    replica.pull(context, 10).await?;
    for number in 1..=3 {
        let (pulled, got) = (replica.state(&context.id(number)), context.state(number).await?);
        ensure_eq!(
            pulled.version(),
            got.version(),
            "the version of record {number}, pulled and got"
        );
        ensure_eq!(
            pulled.stamp(),
            got.stamp(),
            "the stamp of record {number}, pulled and got"
        );
        ensure!(pulled.is_same_as(&got), "pulled {pulled:?}, got {got:?}");
    }
    Ok(())
}

//! Deletes arrive, with their version, and the dead do not come back.

use sync_core::{DeleteVisibility, PullRequest, RemoteState};

use super::{context::RemoteContext, replica::Replica};
use crate::case::{Case, Stop, Verdict, cases, ensure, ensure_eq};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "P6" a_delete_arrives_at_a_client_that_holds_the_record,
        "P6" a_delete_arrives_with_the_version_it_made,
        "P6" a_first_pass_tells_tombstones_and_never_the_dead_as_living,
        "P6" a_client_that_holds_nothing_is_told_no_dead_as_living,
        "P6" a_record_made_anew_arrives_live,
        "P6" deletes_in_pages_of_one_all_arrive,
        "P6" a_record_deleted_without_a_trace_goes_away,
    ]
}

fn tells_tombstones(context: &RemoteContext<'_>) -> bool {
    context.capabilities.deletes == DeleteVisibility::Tombstones
}

async fn a_delete_arrives_at_a_client_that_holds_the_record(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    let mut replica = Replica::new(context.todos());
    replica.sync(context, 100).await?;
    replica.ensure_holds(context, &[1, 2, 3]).await?;
    context.remove(2).await?;
    replica.sync(context, 100).await?;
    replica.ensure_holds(context, &[1, 3]).await
}

async fn a_delete_arrives_with_the_version_it_made(context: &RemoteContext<'_>) -> Verdict {
    context.put(1, "short-lived").await?;
    let mut replica = Replica::new(context.todos());
    replica.sync(context, 100).await?;
    let version = context.remove(1).await?;
    replica.sync(context, 100).await?;
    let state = replica.state(&context.id(1));
    if tells_tombstones(context) {
        let RemoteState::Deleted(tombstone) = &state else {
            return Err(Stop::failed(format!("expected a tombstone, got {state:?}")));
        };
        ensure_eq!(tombstone.version, Some(version), "the version of the tombstone");
    } else {
        ensure!(!state.is_live(), "the deleted record is still live: {state:?}");
    }
    Ok(())
}

async fn a_first_pass_tells_tombstones_and_never_the_dead_as_living(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=4).await?;
    for number in [2, 4] {
        context.remove(number).await?;
    }
    let mut replica = Replica::new(context.todos());
    replica.pull(context, 1).await?;
    replica.ensure_holds(context, &[1, 3]).await?;
    for number in [2, 4] {
        let state = replica.state(&context.id(number));
        let told = matches!(state, RemoteState::Deleted(_));
        ensure!(
            told || !tells_tombstones(context),
            "the tombstone of record {number} was not told: {state:?}"
        );
    }
    Ok(())
}

async fn a_client_that_holds_nothing_is_told_no_dead_as_living(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    context.remove(2).await?;
    let mut request = PullRequest {
        target: context.todos(),
        since: None,
        page_size: 2,
        holds_nothing: true,
    };
    let mut live = Vec::new();
    for _ in 0..20 {
        let page = context.remote.pull(request.clone()).await?;
        live.extend(
            page.changes
                .iter()
                .filter(|change| change.state.is_live())
                .map(|change| change.id.clone()),
        );
        if !page.has_more {
            live.sort();
            live.dedup();
            ensure_eq!(live, [context.id(1), context.id(3)], "the live records");
            return Ok(());
        }
        request = PullRequest {
            since: Some(page.next),
            holds_nothing: false,
            ..request
        };
    }
    Err(Stop::failed("a pass over 3 records has more than 20 pages of 2"))
}

async fn a_record_made_anew_arrives_live(context: &RemoteContext<'_>) -> Verdict {
    context.put(1, "first life").await?;
    let mut replica = Replica::new(context.todos());
    replica.sync(context, 10).await?;
    let deleted = context.remove(1).await?;
    context.put_anew(1, "second life", deleted).await?;
    replica.sync(context, 10).await?;
    replica.ensure_holds(context, &[1]).await?;
    let mut late = Replica::new(context.todos());
    late.sync(context, 1).await?;
    late.ensure_holds(context, &[1]).await
}

async fn deletes_in_pages_of_one_all_arrive(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=6).await?;
    let mut replica = Replica::new(context.todos());
    replica.sync(context, 1).await?;
    for number in [1, 2, 3, 5, 6] {
        context.remove(number).await?;
    }
    replica.sync(context, 1).await?;
    replica.ensure_holds(context, &[4]).await
}

async fn a_record_deleted_without_a_trace_goes_away(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    let mut replica = Replica::new(context.todos());
    replica.sync(context, 10).await?;
    if !context
        .fixture
        .delete_without_trace(&*context.remote, &context.key(2))
        .await
    {
        return Err(Stop::NotApplicable("hook delete_without_trace"));
    }
    context.ensure_gone(2).await?;
    replica.sync(context, 10).await?;
    replica.ensure_holds(context, &[1, 3]).await
}

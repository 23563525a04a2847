//! Leases: one sync at a time, over tasks and processes.

use sync_core::{ChangeSet, ErrorKind, Fence, LeaseAnswer, LocalStore};

use super::LocalContext;
use crate::{
    case::{Case, Stop, Verdict, cases, ensure, ensure_eq},
    sample::{LEASE_TIME, at, commit, commit_stale, confirm, key, uuid},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P12" a_free_lease_is_granted,
        "P12" a_held_lease_is_refused_with_the_time_of_its_end,
        "P12" renewing_keeps_the_fence_and_moves_the_end,
        "P12" a_lease_whose_time_ended_goes_to_another_with_a_greater_fence,
        "P12" commits_with_the_current_fence_pass,
        "P12" a_lease_that_ended_serves_its_holder_until_another_takes_it,
        "P12" commits_with_a_fence_taken_over_are_refused,
        "P12" a_returned_lease_is_free_at_once_and_its_fence_is_not_reused,
        "P12" returning_a_lease_taken_over_changes_nothing,
        "P12" a_commit_can_give_the_lease_back,
        "P12" a_commit_that_is_refused_gives_no_lease_back,
        "P12" leases_of_different_names_are_apart,
        "P12" of_many_that_ask_at_once_one_is_granted,
        "P12" a_fence_stays_the_greatest_across_a_restart,
    ]
}

async fn ask(store: &dyn LocalStore, holder: u64, second: i64) -> Verdict<LeaseAnswer> {
    Ok(store
        .acquire_lease("sync", uuid(holder), at(second), LEASE_TIME)
        .await?)
}

async fn granted(store: &dyn LocalStore, holder: u64, second: i64) -> Verdict<Fence> {
    match ask(store, holder, second).await? {
        LeaseAnswer::Granted(fence) => Ok(fence),
        LeaseAnswer::Held { until } => Err(Stop::failed(format!(
            "the lease was refused to {holder}, until {until}"
        ))),
    }
}

fn fenced(fence: &Fence, name: &str) -> ChangeSet {
    ChangeSet {
        fence: Some(fence.clone()),
        ..confirm(&key(name), r#"{"n":1}"#, 1)
    }
}

async fn a_free_lease_is_granted(context: &LocalContext<'_>) -> Verdict {
    let fence = granted(&*context.store, 1, 0).await?;
    ensure_eq!(fence.lease, "sync", "the name of the lease");
    Ok(())
}

async fn a_held_lease_is_refused_with_the_time_of_its_end(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    granted(store, 1, 0).await?;
    for second in [0, 10, 29] {
        let answer = ask(store, 2, second).await?;
        ensure_eq!(
            answer,
            LeaseAnswer::Held { until: at(30) },
            "the answer to another holder at second {second}"
        );
    }
    Ok(())
}

async fn renewing_keeps_the_fence_and_moves_the_end(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let fence = granted(store, 1, 0).await?;
    ensure_eq!(granted(store, 1, 20).await?, fence, "the fence after renewing");
    ensure_eq!(
        ask(store, 2, 45).await?,
        LeaseAnswer::Held { until: at(50) },
        "the answer to another holder"
    );
    ensure_eq!(
        granted(store, 1, 100).await?,
        fence,
        "the fence renewed after its end, untaken"
    );
    Ok(())
}

async fn a_lease_whose_time_ended_goes_to_another_with_a_greater_fence(
    context: &LocalContext<'_>,
) -> Verdict {
    let store = &*context.store;
    let mut last = granted(store, 1, 0).await?;
    for (holder, second) in [(2, 31), (1, 62), (3, 93)] {
        let fence = granted(store, holder, second).await?;
        ensure!(
            fence.token > last.token,
            "fence {} is not greater than {}",
            fence.token,
            last.token
        );
        last = fence;
    }
    Ok(())
}

async fn commits_with_the_current_fence_pass(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let fence = granted(store, 1, 0).await?;
    commit(store, fenced(&fence, "a")).await?;
    granted(store, 1, 20).await?;
    commit(store, fenced(&fence, "b")).await
}

async fn a_lease_that_ended_serves_its_holder_until_another_takes_it(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let fence = granted(store, 1, 0).await?;
    commit(
        store,
        ChangeSet {
            now: at(1_000),
            ..fenced(&fence, "a")
        },
    )
    .await
}

async fn commits_with_a_fence_taken_over_are_refused(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let old = granted(store, 1, 0).await?;
    let current = granted(store, 2, 31).await?;
    match store.commit(fenced(&old, "late")).await {
        Err(error) => ensure_eq!(error.kind(), ErrorKind::LeaseLost, "the kind of the error"),
        Ok(outcome) => {
            return Err(Stop::failed(format!(
                "a commit with an old fence was answered {outcome:?}"
            )));
        }
    }
    commit(store, fenced(&current, "current")).await?;
    let states = store.load_records(&[key("late"), key("current")]).await?;
    ensure_eq!(
        states[0].revision,
        0,
        "the revision of the record that the old holder wrote"
    );
    ensure!(states[1].revision > 0, "the current holder's record is not there");
    Ok(())
}

async fn a_returned_lease_is_free_at_once_and_its_fence_is_not_reused(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let first = granted(store, 1, 0).await?;
    store.release_lease(&first).await?;
    let second = granted(store, 2, 1).await?;
    ensure!(
        second.token > first.token,
        "fence {} is not greater than {}",
        second.token,
        first.token
    );
    Ok(())
}

async fn returning_a_lease_taken_over_changes_nothing(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let old = granted(store, 1, 0).await?;
    let current = granted(store, 2, 31).await?;
    store.release_lease(&old).await?;
    ensure_eq!(
        ask(store, 3, 32).await?,
        LeaseAnswer::Held { until: at(61) },
        "the answer to a third holder"
    );
    commit(store, fenced(&current, "r")).await
}

async fn a_commit_can_give_the_lease_back(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let first = granted(store, 1, 0).await?;
    let last = ChangeSet {
        gives_back: true,
        ..fenced(&first, "last")
    };
    commit(store, last).await?;
    match store.commit(fenced(&first, "late")).await {
        Err(error) => ensure_eq!(error.kind(), ErrorKind::LeaseLost, "the kind of the error"),
        Ok(outcome) => {
            return Err(Stop::failed(format!(
                "a commit under a lease given back was answered {outcome:?}"
            )));
        }
    }
    let second = granted(store, 2, 1).await?;
    ensure!(
        second.token > first.token,
        "the fence {} is used again",
        first.token
    );
    commit(store, fenced(&second, "next")).await?;
    let states = store.load_records(&[key("last"), key("late")]).await?;
    ensure!(
        states[0].revision > 0,
        "the record of the last commit is not there"
    );
    ensure_eq!(
        states[1].revision,
        0,
        "the revision of the record written too late"
    );
    Ok(())
}

async fn a_commit_that_is_refused_gives_no_lease_back(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let fence = granted(store, 1, 0).await?;
    let stale = ChangeSet {
        gives_back: true,
        guards: vec![(key("nobody"), 7)],
        ..fenced(&fence, "r")
    };
    commit_stale(store, stale).await?;
    ensure_eq!(
        ask(store, 2, 1).await?,
        LeaseAnswer::Held { until: at(30) },
        "the answer to another holder after a stale commit"
    );
    let current = granted(store, 2, 31).await?;
    let late = ChangeSet {
        gives_back: true,
        ..fenced(&fence, "r")
    };
    ensure!(
        store.commit(late).await.is_err(),
        "an old fence was good for a commit"
    );
    commit(store, fenced(&current, "r")).await
}

async fn leases_of_different_names_are_apart(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    granted(store, 1, 0).await?;
    for name in ["Sync", "sync ", "sync%", "other"] {
        let answer = store.acquire_lease(name, uuid(2), at(1), LEASE_TIME).await?;
        ensure!(
            matches!(answer, LeaseAnswer::Granted(_)),
            "the free lease {name:?} was answered {answer:?}"
        );
    }
    Ok(())
}

async fn of_many_that_ask_at_once_one_is_granted(context: &LocalContext<'_>) -> Verdict {
    let asked = (0..16).map(|holder| ask(&*context.store, holder, 0));
    let answers = futures::future::try_join_all(asked).await?;
    let granted = answers
        .iter()
        .filter(|answer| matches!(answer, LeaseAnswer::Granted(_)))
        .count();
    ensure_eq!(granted, 1, "how many of 16 holders were granted one lease");
    Ok(())
}

async fn a_fence_stays_the_greatest_across_a_restart(context: &LocalContext<'_>) -> Verdict {
    let first = granted(&*context.store, 1, 0).await?;
    let store = context.reopened().await?;
    if !store.info().durable {
        // Nothing is promised of the old lease; the store must still grant new ones.
        granted(&*store, 2, 31).await?;
        return Ok(());
    }
    ensure_eq!(
        ask(&*store, 2, 1).await?,
        LeaseAnswer::Held { until: at(30) },
        "the answer after a restart"
    );
    let second = granted(&*store, 2, 31).await?;
    ensure!(
        second.token > first.token,
        "fence {} is not greater than {}",
        second.token,
        first.token
    );
    Ok(())
}

//! What happens to real backends: expired sign-ins, restored backups, rows nobody understands.

use sync_core::{ErrorKind, PullRequest, PushBatch, Result};

use super::{context::RemoteContext, replica::Replica};
use crate::case::{Case, Stop, Verdict, cases, ensure, ensure_eq};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "P13" an_expired_sign_in_is_unauthenticated_in_every_call,
        "P4" a_restored_backup_demands_a_resync_where_announced,
        "P10" a_row_that_cannot_be_understood_does_not_stop_the_others,
    ]
}

async fn an_expired_sign_in_is_unauthenticated_in_every_call(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=2).await?;
    let mut replica = Replica::new(context.todos());
    replica.pull(context, 10).await?;
    if !context.fixture.expire_sign_in(&*context.remote).await {
        return Err(Stop::NotApplicable("hook expire_sign_in"));
    }
    fn ensure_refused<T: std::fmt::Debug>(call: &str, answer: Result<T>) -> Verdict {
        match answer {
            Err(error) if error.kind() == ErrorKind::Unauthenticated => Ok(()),
            other => Err(Stop::failed(format!(
                "with an expired sign-in, {call} was answered {other:?}"
            ))),
        }
    }
    let (remote, target) = (&context.remote, context.todos());
    let pull = PullRequest {
        target: target.clone(),
        since: None,
        page_size: 10,
        holds_nothing: false,
    };
    ensure_refused("pull", remote.pull(pull).await)?;
    ensure_refused("get", remote.get(&target, &[context.id(1), context.id(9)]).await)?;
    let ops = vec![context.delete(&context.key(1), None)];
    ensure_refused(
        "push",
        remote
            .push(PushBatch {
                scope: target.scope.clone(),
                ops,
                atomic: false,
            })
            .await,
    )?;
    if context.capabilities.id_list {
        ensure_refused("list_ids", remote.list_ids(&target, None, 10).await)?;
    }
    Ok(())
}

async fn a_restored_backup_demands_a_resync_where_announced(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=5).await?;
    let mut replica = Replica::new(context.todos());
    let pages = replica.pull(context, 10).await?;
    if !context.fixture.restore_backup(&*context.remote).await {
        return Err(Stop::NotApplicable("hook restore_backup"));
    }
    let since = pages.last().map(|page| page.next.clone());
    let answer = context
        .remote
        .pull(PullRequest {
            target: context.todos(),
            since,
            page_size: 10,
            holds_nothing: false,
        })
        .await;
    match answer {
        Err(error) => ensure_eq!(error.kind(), ErrorKind::ResyncRequired, "the kind of the error"),
        Ok(delta) => ensure!(
            !context.capabilities.epoch,
            "a restored backup went unnoticed: {delta:?}"
        ),
    }
    // Starting over shows what the backup holds.
    let mut anew = Replica::new(context.todos());
    anew.sync(context, 10).await?;
    anew.ensure_holds(context, &[]).await
}

async fn a_row_that_cannot_be_understood_does_not_stop_the_others(context: &RemoteContext<'_>) -> Verdict {
    context.put_all(1..=3).await?;
    if !context
        .fixture
        .plant_malformed_row(&*context.remote, &context.todos())
        .await
    {
        return Err(Stop::NotApplicable("hook plant_malformed_row"));
    }
    context.put(4, "after the malformed row").await?;
    let mut replica = Replica::new(context.todos());
    let pages = replica.pull(context, 2).await?;
    let malformed: Vec<_> = pages.iter().flat_map(|page| &page.malformed).collect();
    ensure!(!malformed.is_empty(), "the malformed row was left out in silence");
    ensure!(
        malformed.iter().all(|row| !row.error.is_empty()),
        "nothing says what is wrong with {malformed:?}"
    );
    replica.ensure_holds(context, &[1, 2, 3, 4]).await
}

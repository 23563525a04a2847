//! Announcements: they lead to pulls and carry no truth.

use futures::{StreamExt, future::Either, stream::BoxStream};
use sync_core::{ErrorKind, Poke, Realtime};

use super::context::RemoteContext;
use crate::case::{Case, Stop, Verdict, cases, ensure_eq};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "P11" a_subscription_begins_with_subscribed,
        "P11" a_change_pokes_a_subscriber,
        "P14" a_change_names_its_collection_or_none,
    ]
}

/// A standing subscription; `None` if the remote rightly refuses.
async fn subscribed(context: &RemoteContext<'_>) -> Verdict<Option<BoxStream<'static, Poke>>> {
    match (
        context.remote.subscribe(&context.todos().scope).await,
        context.capabilities.realtime,
    ) {
        (Err(error), Realtime::None) => {
            ensure_eq!(
                error.kind(),
                ErrorKind::Unsupported,
                "the kind of the error without `realtime`"
            );
            Ok(None)
        }
        (Ok(_), Realtime::None) => Err(Stop::failed("`realtime` is none, but a subscription stands")),
        (pokes, _) => {
            let mut pokes = pokes?;
            ensure_eq!(
                next(context, &mut pokes).await?,
                Poke::Subscribed,
                "the first poke"
            );
            Ok(Some(pokes))
        }
    }
}

async fn next(context: &RemoteContext<'_>, pokes: &mut BoxStream<'static, Poke>) -> Verdict<Poke> {
    let timer = context.fixture.timer();
    let wait = context.fixture.deadline() / 4;
    match futures::future::select(pokes.next(), timer.sleep(wait)).await {
        Either::Left((Some(poke), _)) => Ok(poke),
        Either::Left((None, _)) => Err(Stop::failed("the subscription ended")),
        Either::Right(_) => Err(Stop::failed(format!("no poke within {wait:?}"))),
    }
}

async fn a_subscription_begins_with_subscribed(context: &RemoteContext<'_>) -> Verdict {
    subscribed(context).await.map(drop)
}

async fn a_change_pokes_a_subscriber(context: &RemoteContext<'_>) -> Verdict {
    let Some(mut pokes) = subscribed(context).await? else {
        return Ok(());
    };
    for round in 0..3 {
        context.put(round, "news").await?;
        // Several pokes for one change are allowed, so each round only needs one.
        next(context, &mut pokes).await?;
    }
    Ok(())
}

async fn a_change_names_its_collection_or_none(context: &RemoteContext<'_>) -> Verdict {
    let Some(mut pokes) = subscribed(context).await? else {
        return Ok(());
    };
    context.put(1, "news").await?;
    match next(context, &mut pokes).await? {
        Poke::Subscribed | Poke::Changed(None) => Ok(()),
        Poke::Changed(Some(name)) => {
            ensure_eq!(name, context.todos().collection, "the collection that changed");
            Ok(())
        }
        other => Err(Stop::failed(format!("a change was told as {other:?}"))),
    }
}

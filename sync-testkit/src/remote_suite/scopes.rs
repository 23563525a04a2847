//! Scopes: a call sees and touches records of its own scope and collection only.

use sync_core::{PushOutcome, RecordKey, RemoteStoreExt, SearchSupport, Target, query::QuerySpec};

use super::{
    context::{FIELDS, RemoteContext, ensure_live},
    replica::{Replica, list_all},
};
use crate::case::{Case, Stop, Verdict, cases, ensure_eq};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "P14" the_same_id_in_two_scopes_is_two_records,
        "P14" writing_one_scope_leaves_the_other_alone,
        "P14" a_record_of_another_scope_is_neither_seen_nor_changed,
        "P14" collections_of_one_scope_are_apart,
    ]
}

fn same_in(context: &RemoteContext<'_>, target: &Target) -> RecordKey {
    RecordKey::new(target.clone(), context.id(1))
}

async fn put_same(context: &RemoteContext<'_>, target: &Target) -> Verdict {
    let key = same_in(context, target);
    context
        .apply(context.create(&key, context.titled(&key, &target.to_string())))
        .await?;
    Ok(())
}

/// What every reading function tells of the target, which holds one record with the target's name as the title.
async fn ensure_own(context: &RemoteContext<'_>, target: &Target) -> Verdict {
    let key = same_in(context, target);
    let own = context.titled(&key, &target.to_string());
    ensure_live(&context.remote.get_one(&key).await?, &own, &FIELDS)?;
    let mut replica = Replica::new(target.clone());
    let pages = replica.pull(context, 10).await?;
    let live = pages
        .iter()
        .flat_map(|page| &page.changes)
        .filter(|change| change.state.is_live())
        .count();
    ensure_eq!(live, 1, "live records pulled of {target}");
    ensure_live(&replica.state(&key.id), &own, &FIELDS)?;
    if context.capabilities.id_list {
        ensure_eq!(
            list_all(context, target, 10).await?.len(),
            1,
            "ids listed of {target}"
        );
    }
    if context.capabilities.search == SearchSupport::Full {
        let page = context.remote.search(target, &QuerySpec::new()).await?;
        ensure_eq!(page.hits.len(), 1, "records found in {target}");
    }
    Ok(())
}

async fn the_same_id_in_two_scopes_is_two_records(context: &RemoteContext<'_>) -> Verdict {
    let targets = ["ada", "bob"].map(|user| context.fixture.target("todos", user));
    for target in &targets {
        put_same(context, target).await?;
    }
    for target in &targets {
        ensure_own(context, target).await?;
    }
    Ok(())
}

async fn writing_one_scope_leaves_the_other_alone(context: &RemoteContext<'_>) -> Verdict {
    let [ada, bob] = ["ada", "bob"].map(|user| context.fixture.target("todos", user));
    put_same(context, &ada).await?;
    put_same(context, &bob).await?;
    let mut replica = Replica::new(bob.clone());
    replica.pull(context, 10).await?;
    let before = context.remote.get_one(&same_in(context, &bob)).await?;
    let key = same_in(context, &ada);
    context
        .apply(context.update(&key, context.titled(&key, "changed"), None))
        .await?;
    context.apply(context.delete(&key, None)).await?;
    ensure_own(context, &bob).await?;
    let after = context.remote.get_one(&same_in(context, &bob)).await?;
    ensure_eq!(
        after.version(),
        before.version(),
        "the version of the record in the other scope"
    );
    replica.sync(context, 10).await?;
    ensure_eq!(
        replica.state(&context.id(1)).version(),
        before.version(),
        "the version that arrived in the other scope"
    );
    Ok(())
}

async fn a_record_of_another_scope_is_neither_seen_nor_changed(context: &RemoteContext<'_>) -> Verdict {
    let [ada, bob] = ["ada", "bob"].map(|user| context.fixture.target("todos", user));
    put_same(context, &ada).await?;
    let foreign = same_in(context, &bob);
    let state = context.remote.get_one(&foreign).await?;
    ensure_eq!(
        state.is_live(),
        false,
        "whether the record shows in the other scope"
    );
    for op in [
        context.update(&foreign, context.titled(&foreign, "stolen"), None),
        context.delete(&foreign, None),
    ] {
        match context.push(op).await? {
            PushOutcome::Missing | PushOutcome::Rejected { .. } => {}
            PushOutcome::Conflict { current } if !current.is_live() => {}
            // Deleting what is not there may leave a tombstone in its own scope.
            PushOutcome::Applied { record: None, .. } => {}
            other => {
                return Err(Stop::failed(format!(
                    "a write to a record of another scope was answered {other:?}"
                )));
            }
        }
    }
    ensure_own(context, &ada).await
}

async fn collections_of_one_scope_are_apart(context: &RemoteContext<'_>) -> Verdict {
    let targets = ["todos", "notes"].map(|collection| context.fixture.target(collection, "ada"));
    for target in &targets {
        put_same(context, target).await?;
    }
    let key = same_in(context, &targets[0]);
    for target in &targets {
        ensure_own(context, target).await?;
    }
    context.apply(context.delete(&key, None)).await?;
    ensure_own(context, &targets[1]).await
}

//! Pushing single operations: what they leave behind.

use sync_core::{PushOutcome, RemoteState, RemoteVersion};

use super::context::{FIELDS, RemoteContext, ensure_live};
use crate::{
    case::{Case, Stop, Verdict, cases, ensure, ensure_eq},
    sample::payload,
};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "P7" a_create_makes_the_record_with_the_version_answered,
        "P7" an_update_replaces_the_record_and_its_version,
        "P6" a_delete_removes_the_record,
        "P4" every_write_makes_a_new_version,
        "P16" only_the_changed_fields_are_written,
        "P16" a_changed_field_that_the_payload_lacks_is_removed,
        "P16" replacing_all_removes_what_the_payload_lacks,
        "P6" a_record_made_anew_has_none_of_its_old_fields,
        "P6" an_update_of_an_unknown_record_makes_none,
        "P6" an_update_of_a_deleted_record_does_not_bring_it_back,
        "P7" deleting_an_unknown_record_is_missing_or_applied,
        "P7" deleting_twice_leaves_it_deleted,
        "P16" stamps_are_kept_where_announced,
        "" a_record_answered_by_a_push_is_the_one_stored,
    ]
}

async fn a_create_makes_the_record_with_the_version_answered(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let version = context.put(1, "tea").await?;
    let state = context.state(1).await?;
    ensure_live(&state, &context.titled(&key, "tea"), &FIELDS)?;
    ensure_eq!(state.version(), Some(&version), "the version of the record");
    Ok(())
}

async fn an_update_replaces_the_record_and_its_version(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let first = context.put(1, "tea").await?;
    let changed = context.counted(&key, "milk", 2);
    let second = context
        .apply(context.update(&key, changed.clone(), Some(first.clone())))
        .await?;
    ensure!(second != first, "the update kept the version {first:?}");
    let state = context.state(1).await?;
    ensure_live(&state, &changed, &FIELDS)?;
    ensure_eq!(state.version(), Some(&second), "the version of the record");
    Ok(())
}

async fn a_delete_removes_the_record(context: &RemoteContext<'_>) -> Verdict {
    let version = context.put(1, "tea").await?;
    context.put(2, "milk").await?;
    context
        .apply(context.delete(&context.key(1), Some(version)))
        .await?;
    context.ensure_gone(1).await?;
    context.ensure_title(2, "milk").await
}

async fn every_write_makes_a_new_version(context: &RemoteContext<'_>) -> Verdict {
    let mut versions: Vec<RemoteVersion> = vec![context.put(1, "tea").await?];
    for title in ["milk", "tea", "tea", "tea"] {
        versions.push(context.retitle(1, title).await?);
    }
    for (index, version) in versions.iter().enumerate() {
        ensure!(
            !versions[..index].contains(version),
            "the version {version:?} was made twice: {versions:?}"
        );
    }
    let orders: Vec<_> = versions.iter().filter_map(RemoteVersion::order).collect();
    ensure!(
        orders.is_sorted(),
        "the versions of one record are not in order: {orders:?}"
    );
    Ok(())
}

async fn only_the_changed_fields_are_written(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    context
        .apply(context.create(&key, context.counted(&key, "tea", 5)))
        .await?;
    // Two clients changed one field each, and know the other field only as it was.
    let title = context.update_only(&key, context.counted(&key, "milk", 5), &["title"], None);
    context.apply(title).await?;
    let count = context.update_only(&key, context.counted(&key, "tea", 6), &["count"], None);
    context.apply(count).await?;
    ensure_live(
        &context.state(1).await?,
        &context.counted(&key, "milk", 6),
        &FIELDS,
    )
}

fn bare(key: &sync_core::RecordKey) -> sync_core::Payload {
    payload(&serde_json::json!({"id": key.id.as_str(), "title": "bare"}).to_string())
}

async fn a_changed_field_that_the_payload_lacks_is_removed(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    context
        .apply(context.create(&key, context.counted(&key, "tea", 5)))
        .await?;
    context
        .apply(context.update_only(&key, bare(&key), &["count"], None))
        .await?;
    let expected = payload(r#"{"title":"tea","done":false}"#);
    ensure_live(&context.state(1).await?, &expected, &FIELDS)
}

async fn replacing_all_removes_what_the_payload_lacks(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let version = context
        .apply(context.create(&key, context.counted(&key, "tea", 5)))
        .await?;
    context
        .apply(context.update(&key, bare(&key), Some(version)))
        .await?;
    ensure_live(&context.state(1).await?, &bare(&key), &FIELDS)
}

async fn a_record_made_anew_has_none_of_its_old_fields(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let first = context
        .apply(context.create(&key, context.counted(&key, "tea", 5)))
        .await?;
    let deleted = context.apply(context.delete(&key, Some(first.clone()))).await?;
    let second = context
        .apply(context.create_anew(&key, bare(&key), deleted))
        .await?;
    ensure!(
        second != first,
        "the record made anew has the version {first:?} of its first life"
    );
    ensure_live(&context.state(1).await?, &bare(&key), &FIELDS)
}

/// Fails unless the outcome says honestly that there is no live record to change.
fn ensure_refused_as_gone(outcome: &PushOutcome) -> Verdict {
    match outcome {
        PushOutcome::Missing => Ok(()),
        PushOutcome::Conflict { current } if !current.is_live() => Ok(()),
        other => Err(Stop::failed(format!(
            "expected missing, or a conflict with no live record, got {other:?}"
        ))),
    }
}

async fn an_update_of_an_unknown_record_makes_none(context: &RemoteContext<'_>) -> Verdict {
    let other = context.put(2, "milk").await?;
    let key = context.key(1);
    for base in [None, Some(other)] {
        let outcome = context
            .push(context.update(&key, context.titled(&key, "tea"), base))
            .await?;
        ensure_refused_as_gone(&outcome)?;
        context.ensure_gone(1).await?;
    }
    Ok(())
}

async fn an_update_of_a_deleted_record_does_not_bring_it_back(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let version = context.put(1, "tea").await?;
    context.apply(context.delete(&key, Some(version.clone()))).await?;
    for base in [Some(version), None] {
        let outcome = context
            .push(context.update(&key, context.titled(&key, "ghost"), base))
            .await?;
        ensure_refused_as_gone(&outcome)?;
        context.ensure_gone(1).await?;
    }
    Ok(())
}

async fn deleting_an_unknown_record_is_missing_or_applied(context: &RemoteContext<'_>) -> Verdict {
    let outcome = context.push(context.delete(&context.key(1), None)).await?;
    let honest = matches!(outcome, PushOutcome::Missing | PushOutcome::Applied { .. });
    ensure!(
        honest,
        "expected missing, or applied by a remote that keeps tombstones, got {outcome:?}"
    );
    context.ensure_gone(1).await
}

async fn deleting_twice_leaves_it_deleted(context: &RemoteContext<'_>) -> Verdict {
    context.put(1, "tea").await?;
    context.apply(context.delete(&context.key(1), None)).await?;
    let outcome = context.push(context.delete(&context.key(1), None)).await?;
    let honest = match &outcome {
        PushOutcome::Missing | PushOutcome::Applied { .. } | PushOutcome::Duplicate { .. } => true,
        PushOutcome::Conflict { current } => !current.is_live(),
        _ => false,
    };
    ensure!(honest, "a second delete was answered {outcome:?}");
    context.ensure_gone(1).await
}

async fn stamps_are_kept_where_announced(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let create = context.create(&key, context.titled(&key, "tea"));
    let expected = if context.capabilities.stamps {
        Some(create.stamp)
    } else {
        None
    };
    context.apply(create).await?;
    ensure_eq!(
        context.state(1).await?.stamp(),
        expected,
        "the stamp of the record"
    );
    let delete = context.delete(&key, None);
    let deleted_at = delete.stamp;
    context.apply(delete).await?;
    if let RemoteState::Deleted(tombstone) = context.state(1).await? {
        let expected = if context.capabilities.stamps {
            Some(deleted_at)
        } else {
            None
        };
        ensure_eq!(tombstone.stamp, expected, "the stamp of the tombstone");
    }
    Ok(())
}

async fn a_record_answered_by_a_push_is_the_one_stored(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let outcome = context
        .push(context.create(&key, context.titled(&key, "tea")))
        .await?;
    let PushOutcome::Applied { version, record, .. } = outcome else {
        return Err(Stop::failed(format!("a sound create was answered {outcome:?}")));
    };
    let state = context.state(1).await?;
    ensure_eq!(state.version(), Some(&version), "the version of the record");
    match record {
        Some(record) => ensure_live(&state, &record, &FIELDS),
        None => ensure_live(&state, &context.titled(&key, "tea"), &FIELDS),
    }
}

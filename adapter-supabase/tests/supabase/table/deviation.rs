//! What the stand-in for the data API does otherwise than PostgREST, and this suite has mended in its database.

use serde_json::json;
use sync_core::{OpKind, PushOutcome, RemoteStoreExt};

use super::project::{Project, op, push, scope, version};

/// PostgREST leaves the type of a filter's value open (`UpdateSpec`), so that PATCH with a filter on a time finds its row.
#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_finds_no_operator_for_a_time_in_the_filter_of_a_write() {
    let unmended = "drop cast (text as timestamptz)";
    let Some(project) = Project::start(&[unmended]).await else {
        return;
    };
    let remote = project.connect().await;
    let made = push(
        &remote,
        op("a", OpKind::Create, Some(json!({"title": "tea"})), None),
    )
    .await;
    let update = op(
        "a",
        OpKind::Update,
        Some(json!({"title": "milk"})),
        Some(&version(&made)),
    );
    match remote.push_ops(&scope(), vec![update]).await {
        Err(error) => assert_eq!(error.code(), Some("42883"), "{error}"),
        Ok(outcomes) => {
            assert!(
                !matches!(outcomes[0], PushOutcome::Applied { .. }),
                "the mend is obsolete: {outcomes:?}"
            );
        }
    }
    project.stack.stop().await;
}

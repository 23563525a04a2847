//! Single writes: conditions, policies, lost answers.

use serde_json::json;
use supabase_stack::{Fault, PostgresVersion};
use sync_core::{ChangedFields, ErrorKind, OpKind, PushOutcome, RemoteState, RemoteStore, RemoteStoreExt};

use super::project::{Project, key, op, push, scope, version};

on_each_postgres!(
    a_write_whose_answer_is_lost_is_read_back_and_not_repeated,
    a_row_that_changed_meanwhile_is_a_conflict_with_what_it_is_now,
    a_policy_that_lets_read_and_not_write_rejects_and_is_no_conflict,
    what_the_database_refuses_is_rejected_with_its_code_and_the_others_go_on,
    a_table_whose_time_nobody_sets_is_told_of_with_the_first_write,
    a_deadlock_is_tried_again_and_nothing_after_it_is_sent,
    nobody_signed_in_is_an_error_and_never_an_empty_table,
);

async fn a_write_whose_answer_is_lost_is_read_back_and_not_repeated(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &[]).await else {
        return;
    };
    let remote = project.connect().await;
    let faults = project.stack.faults();

    faults.next("/rest/v1/todos", Fault::DropAfter);
    let made = push(
        &remote,
        op("a", OpKind::Create, Some(json!({"title": "tea"})), None),
    )
    .await;
    let first = version(&made);

    faults.next("/rest/v1/todos", Fault::DropAfter);
    let mut update = op("a", OpKind::Update, Some(json!({"title": "milk"})), Some(&first));
    update.changed = ChangedFields::Only(["title".to_owned()].into());
    let second = version(&push(&remote, update).await);
    assert_ne!(first, second);

    faults.next("/rest/v1/todos", Fault::DropAfter);
    let deleted = push(&remote, op("a", OpKind::Delete, None, Some(&second))).await;
    assert_eq!(deleted, PushOutcome::Missing);

    faults.next("/rest/v1/todos", Fault::DropBefore);
    let lost = push(
        &remote,
        op("b", OpKind::Create, Some(json!({"title": "x"})), None),
    )
    .await;
    assert!(matches!(lost, PushOutcome::Unknown { .. }), "{lost:?}");
    let requests = project.stack.requests();
    let writes = requests
        .iter()
        .filter(|request| request.path.starts_with("/rest/v1/todos"));
    let writes: Vec<&str> = writes
        .map(|request| request.method.as_str())
        .filter(|method| *method != "GET")
        .collect();
    assert_eq!(writes, ["POST", "PATCH", "DELETE", "POST"], "each was sent once");
    project.stack.stop().await;
}

async fn a_row_that_changed_meanwhile_is_a_conflict_with_what_it_is_now(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &[]).await else {
        return;
    };
    let remote = project.connect().await;
    let first = version(
        &push(
            &remote,
            op("a", OpKind::Create, Some(json!({"title": "tea"})), None),
        )
        .await,
    );
    project.sql("update public.todos set title = 'coffee'").await;
    for kind in [OpKind::Update, OpKind::Delete] {
        let record = (kind == OpKind::Update).then(|| json!({"title": "milk"}));
        let PushOutcome::Conflict { current } = push(&remote, op("a", kind, record, Some(&first))).await
        else {
            panic!("no conflict for {kind:?}")
        };
        let record = current.payload().unwrap().to_object().unwrap();
        assert_eq!(record["title"], "coffee");
    }
    let again = push(
        &remote,
        op("a", OpKind::Create, Some(json!({"title": "milk"})), None),
    )
    .await;
    assert!(
        matches!(
            again,
            PushOutcome::Conflict {
                current: RemoteState::Live(_)
            }
        ),
        "{again:?}"
    );
    project.stack.stop().await;
}

async fn a_policy_that_lets_read_and_not_write_rejects_and_is_no_conflict(postgres: PostgresVersion) {
    let read_only = "drop policy signed_in on public.todos;
        create policy reads on public.todos for select to authenticated using (true);
        insert into public.todos (owner, id, title) values ('ada', 'a', 'tea')";
    let Some(project) = Project::on(postgres, &[read_only]).await else {
        return;
    };
    let remote = project.connect().await;
    let base = remote.get_one(&key("a")).await.unwrap().version().cloned();
    for (id, kind) in [
        ("a", OpKind::Update),
        ("a", OpKind::Delete),
        ("b", OpKind::Create),
    ] {
        let record = (kind != OpKind::Delete).then(|| json!({"title": "milk"}));
        let base = base.as_ref().filter(|_| kind != OpKind::Create);
        let outcome = push(&remote, op(id, kind, record, base)).await;
        assert!(
            matches!(&outcome, PushOutcome::Rejected { code, .. } if code == "42501"),
            "{kind:?}: {outcome:?}"
        );
    }
    project.stack.stop().await;
}

async fn what_the_database_refuses_is_rejected_with_its_code_and_the_others_go_on(postgres: PostgresVersion) {
    let constraint = "alter table public.todos add constraint short check (length(title) < 10)";
    let Some(project) = Project::on(postgres, &[constraint]).await else {
        return;
    };
    let remote = project.connect().await;
    let create = |id: &str, title: &str| op(id, OpKind::Create, Some(json!({"title": title})), None);
    let ops = vec![
        create("a", "tea"),
        create("b", "much too long"),
        create("c", "milk"),
    ];
    let outcomes = remote.push_ops(&scope(), ops).await.unwrap();
    let names: Vec<&str> = outcomes.iter().map(PushOutcome::name).collect();
    assert_eq!(names, ["applied", "rejected", "applied"]);
    assert!(
        matches!(&outcomes[1], PushOutcome::Rejected { code, .. } if code == "23514"),
        "{outcomes:?}"
    );
    project.stack.stop().await;
}

async fn a_table_whose_time_nobody_sets_is_told_of_with_the_first_write(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &["drop trigger touch on public.todos"]).await else {
        return;
    };
    let remote = project.connect().await;
    let first = version(
        &push(
            &remote,
            op("a", OpKind::Create, Some(json!({"title": "tea"})), None),
        )
        .await,
    );
    let update = op("a", OpKind::Update, Some(json!({"title": "milk"})), Some(&first));
    let outcome = push(&remote, update).await;
    assert!(
        matches!(&outcome, PushOutcome::Rejected { code, .. } if code == "updated_at_stands_still"),
        "{outcome:?}"
    );
    project.stack.stop().await;
}

async fn a_deadlock_is_tried_again_and_nothing_after_it_is_sent(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &[]).await else {
        return;
    };
    let remote = project.connect().await;
    let deadlock = r#"{"code":"40P01","message":"deadlock detected","details":null,"hint":null}"#;
    let answer = Fault::Answer {
        status: 500,
        body: deadlock.to_owned(),
    };
    project.stack.faults().next("/rest/v1/todos", answer);
    let create = |id: &str| op(id, OpKind::Create, Some(json!({"title": id})), None);
    let error = remote
        .push_ops(&scope(), vec![create("a"), create("b")])
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Server, Some("40P01")));
    let outcomes = remote
        .push_ops(&scope(), vec![create("a"), create("b")])
        .await
        .unwrap();
    let names: Vec<&str> = outcomes.iter().map(PushOutcome::name).collect();
    assert_eq!(names, ["applied", "applied"]);
    project.stack.stop().await;
}

async fn nobody_signed_in_is_an_error_and_never_an_empty_table(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &[]).await else {
        return;
    };
    let anonymous = std::sync::Arc::new(sync_http::FixedToken::anonymous());
    let config = project.config().signed_in(anonymous);
    let config = config.with_collection(super::project::table("todos")).unwrap();
    let profile = project.connect().await.profile().clone();
    let remote = adapter_supabase::SupabaseRemoteStore::open(config, profile).unwrap();
    let listed = remote
        .list_ids(&super::project::todos(), None, 10)
        .await
        .unwrap_err();
    assert_eq!(listed.kind(), ErrorKind::Unauthenticated);
    let got = remote.get_one(&key("a")).await.unwrap_err();
    assert_eq!(got.kind(), ErrorKind::Unauthenticated);
    project.stack.stop().await;
}

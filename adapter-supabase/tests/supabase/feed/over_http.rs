//! The feed's functions as clients reach them: through the data API and the gateway.

use adapter_supabase::migration::{FeedMigration, FeedTable, ScopeRule};
use serde_json::{Value, json};
use supabase_stack::{PostgresVersion, Stack};

use super::caller::{create, id, update};

const TABLE: &str = "
    create table public.todo (id uuid primary key, scope text not null, title text not null, amount bigint);
    alter table public.todo enable row level security;
    create table public.members (scope text, user_id uuid, can_write boolean)";
const POLICIES: &str = "
    create policy members on public.todo for all to authenticated using (scope in (select sync.my_scopes()))
      with check (scope in (select sync.my_scopes(true)))";

struct Client<'a> {
    stack: &'a Stack,
    token: Option<String>,
}

impl Client<'_> {
    async fn call(&self, function: &str, arguments: Value) -> (u16, Value) {
        let url = format!("{}/rest/v1/rpc/{function}", self.stack.url());
        let request = reqwest::Client::new()
            .post(url)
            .header("apikey", self.stack.publishable_key());
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let request = request
            .header("content-type", "application/json")
            .body(arguments.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_str(&answer.text().await.unwrap()).unwrap(),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_15_answers_over_http() {
    over_http(PostgresVersion::V15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_17_answers_over_http() {
    over_http(PostgresVersion::V17).await;
}

async fn over_http(version: PostgresVersion) {
    let table = FeedTable::new("todo", ScopeRule::column("scope")).columns(["title", "amount"]);
    let membership = "select scope, user_id, can_write from public.members";
    let migration = FeedMigration::new()
        .membership(membership)
        .table(table)
        .to_sql()
        .unwrap();
    let Some(stack) = Stack::for_tests(version, &[TABLE, &migration, POLICIES]).await else {
        return;
    };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    stack
        .run_sql(&format!(
            "insert into public.members values ('s', '{user}', true)"
        ))
        .await
        .unwrap();
    let ada = Client {
        stack: &stack,
        token: Some(stack.access_token(&user)),
    };
    let nobody = Client {
        stack: &stack,
        token: None,
    };
    for (function, arguments) in [
        ("sync_status", json!({})),
        ("sync_pull", json!({"p_scope": "s", "p_collection": "todo"})),
        ("sync_push", json!({"p_scope": "s", "p_ops": []})),
    ] {
        let (status, body) = nobody.call(function, arguments).await;
        assert_eq!((status, &body["code"]), (401, &json!("42501")), "{function}");
    }
    let (status, body) = ada.call("sync_status", json!({})).await;
    assert_eq!((status, &body["user"]), (200, &json!(user)));

    // Numbers beyond what a double holds go there and back as they are.
    let amount = i64::MAX;
    let ops = json!([
        create(&id(1), json!({"title": "one", "amount": amount})),
        create(&id(2), json!({"title": null}))
    ]);
    let push = json!({"p_scope": "s", "p_ops": ops});
    let (status, body) = ada.call("sync_push", push.clone()).await;
    assert_eq!(
        (status, &body["results"][0]["st"], &body["results"][1]["code"]),
        (200, &json!("applied"), &json!("23502"))
    );
    assert_eq!(
        ada.call("sync_push", push).await.1["results"][0]["st"],
        "duplicate"
    );
    let pull = |cursor: Option<&str>| match cursor {
        Some(cursor) => json!({"p_scope": "s", "p_collection": "todo", "p_cursor": cursor, "p_limit": 10}),
        None => json!({"p_scope": "s", "p_collection": "todo", "p_holds_nothing": true}),
    };
    let (_, page) = ada.call("sync_pull", pull(None)).await;
    assert_eq!(
        (&page["changes"][0]["row"]["amount"], &page["changes"][0]["stamp"]),
        (&json!(amount), &json!("made"))
    );
    let (_, again) = ada.call("sync_pull", pull(page["cursor"].as_str())).await;
    assert_eq!(
        (&again["changes"], &again["cursor"]),
        (&json!([]), &page["cursor"])
    );
    let stale = json!([update(&id(1), Some("1"), json!({"title": "two"}))]);
    let (_, body) = ada
        .call(
            "sync_push",
            json!({"p_scope": "s", "p_ops": stale, "p_atomic": true}),
        )
        .await;
    assert_eq!(body["results"][0]["current"]["row"]["title"], "one");
    let (_, body) = ada
        .call(
            "sync_get",
            json!({"p_scope": "s", "p_collection": "todo", "p_ids": [id(1), id(9)]}),
        )
        .await;
    assert_eq!(
        (&body["states"][0]["id"], &body["states"][1]),
        (&json!(id(1)), &Value::Null)
    );
    let (_, body) = ada
        .call(
            "sync_list_ids",
            json!({"p_scope": "s", "p_collection": "todo", "p_limit": 10}),
        )
        .await;
    assert_eq!(
        (body["ids"].as_array().unwrap().len(), &body["next"]),
        (1, &Value::Null)
    );

    for (arguments, expected, code, hint) in [
        (
            json!({"p_scope": "other", "p_collection": "todo"}),
            403,
            "PT403",
            "not_a_member",
        ),
        (
            json!({"p_scope": "s", "p_collection": "nothing"}),
            404,
            "PT404",
            "unknown_collection",
        ),
        (pull(Some("of no epoch")), 409, "PT409", "resync"),
    ] {
        let (status, body) = ada.call("sync_pull", arguments).await;
        assert_eq!(
            (status, &body["code"], &body["hint"]),
            (expected, &json!(code), &json!(hint))
        );
    }
    stack.stop().await;
}

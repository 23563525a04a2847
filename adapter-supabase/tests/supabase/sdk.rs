//! What the crate `supabase_rs` does against the stack.

use std::sync::Arc;

use adapter_supabase::{ApiKey, SupabaseSdk};
use serde_json::json;
use supabase_stack::PostgresVersion;
use sync_core::{ErrorKind, TokioTimer};

use crate::table::project::Project;

const SQL: &str = "
    insert into public.todos (owner, id, title) values ('ada', 'a', 'tea'), ('bob', 'b', 'milk,more');
    create function public.titles(p_owner text) returns jsonb language sql stable as
    $$ select jsonb_build_object('titles', jsonb_agg(title)) from public.todos where owner = p_owner $$";

on_each_postgres!(it_selects_and_calls_with_the_key_of_a_server,);

async fn it_selects_and_calls_with_the_key_of_a_server(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &[SQL]).await else {
        return;
    };
    let secret = ApiKey::new(project.stack.secret_key());
    let sdk = SupabaseSdk::new(&project.stack.url(), &secret, Arc::new(TokioTimer)).unwrap();
    let rows = sdk.select("todos", &[]).await.unwrap();
    assert_eq!(rows.len(), 2, "no policy restricts it");
    let rows = sdk.select("todos", &[("title", "milk,more")]).await.unwrap();
    assert_eq!(rows[0]["id"], "b");
    let titles = sdk.call("titles", &json!({"p_owner": "ada"})).await.unwrap();
    assert_eq!(titles, json!({"titles": ["tea"]}));

    let missing = sdk.select("nowhere", &[]).await.unwrap_err();
    assert_eq!(
        (missing.kind(), missing.code()),
        (ErrorKind::Configuration, Some("PGRST205"))
    );
    let unknown = sdk.call("nothing", &json!({})).await.unwrap_err();
    assert_eq!(unknown.code(), Some("PGRST202"));

    let request = project.stack.requests().into_iter().next().unwrap();
    let bearer = format!("Bearer {}", project.stack.secret_key());
    assert_eq!(
        request.authorization,
        Some(bearer),
        "the key stands where a user's token would"
    );
    assert!(!format!("{sdk:?}").contains("sb_secret"));
    let publishable = ApiKey::new(project.stack.publishable_key());
    let refused = SupabaseSdk::new(&project.stack.url(), &publishable, Arc::new(TokioTimer));
    assert_eq!(refused.unwrap_err().field(), Some("key"));
    project.stack.stop().await;
}

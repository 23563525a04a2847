//! A stack with one table, and requests to it.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use supabase_stack::{PostgresVersion, Stack};

/// Todos of their owners, and functions.
pub(crate) const SCHEMA: &str = "
    create table public.todo (id uuid primary key, owner uuid not null default auth.uid(), title text not null,
      made_at timestamptz);
    alter table public.todo enable row level security;
    create policy owners on public.todo for all to authenticated using (owner = (select auth.uid()))
      with check (owner = (select auth.uid()));
    create policy listens on realtime.messages for select to authenticated
      using ((select realtime.topic()) = 'own:' || (select auth.uid()));
    create function public.is_null(given text default null) returns boolean language sql as $$ select given is null $$;
    select realtime.publish('public.todo')";

pub(crate) async fn stack() -> Option<Stack> {
    Stack::for_tests(PostgresVersion::V15, &[SCHEMA]).await
}

pub(crate) fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// A request with the publishable key.
pub(crate) fn ask(stack: &Stack, method: Method, path: &str) -> RequestBuilder {
    let request = reqwest::Client::new().request(method, format!("{}{path}", stack.url()));
    request.header("apikey", stack.publishable_key())
}

/// A request with a JSON body.
pub(crate) fn post(stack: &Stack, path: &str, body: &Value) -> RequestBuilder {
    let request = ask(stack, Method::POST, path);
    request
        .header("content-type", "application/json")
        .body(body.to_string())
}

/// The status and the body of an answer.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default(),
    )
}

/// Inserts a todo as a user.
pub(crate) async fn insert(stack: &Stack, token: &str, number: u32) -> (u16, Value) {
    let row = json!({"id": id(number), "title": number.to_string()});
    answer(post(stack, "/rest/v1/todo", &row).bearer_auth(token)).await
}

//! Signing in and refreshing.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use supabase_stack::Stack;

use crate::project::{answer, ask, post, stack};

async fn token(stack: &Stack, grant: &str, body: &Value) -> (u16, Value) {
    let path = format!("/auth/v1/token?grant_type={grant}");
    answer(post(stack, &path, body).header("x-supabase-api-version", "2024-01-01")).await
}

async fn refresh(stack: &Stack, session: &Value) -> (u16, Value) {
    token(
        stack,
        "refresh_token",
        &json!({"refresh_token": session["refresh_token"]}),
    )
    .await
}

#[tokio::test]
async fn a_user_signs_in_refreshes_and_signs_out() {
    let Some(stack) = stack().await else { return };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let (status, body) = token(
        &stack,
        "password",
        &json!({"email": "ada@example.com", "password": "wrong"}),
    )
    .await;
    assert_eq!((status, &body["code"]), (400, &json!("invalid_credentials")));
    let (status, first) = token(
        &stack,
        "password",
        &json!({"email": "ada@example.com", "password": "secret"}),
    )
    .await;
    assert_eq!(
        (status, &first["user"]["id"], &first["expires_in"]),
        (200, &json!(user), &json!(3600))
    );
    let (status, second) = refresh(&stack, &first).await;
    assert_eq!(status, 200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let access = second["access_token"].as_str().unwrap();
    let whoami = || ask(&stack, Method::GET, "/auth/v1/user").bearer_auth(access);
    assert_eq!(answer(whoami()).await.1["email"], "ada@example.com");
    let out = ask(&stack, Method::POST, "/auth/v1/logout").bearer_auth(access);
    assert_eq!(out.send().await.unwrap().status(), 204);
    assert_eq!(answer(whoami()).await.1["error_code"], "session_not_found");
    assert_eq!(
        refresh(&stack, &second).await.1["code"],
        "refresh_token_not_found"
    );
    assert_eq!(stack.auth().refreshes(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn a_lost_answer_is_forgiven_and_a_stolen_token_ends_the_session() {
    let Some(stack) = stack().await else { return };
    stack.add_user("ada@example.com", "secret").await.unwrap();
    let (_, first) = token(
        &stack,
        "password",
        &json!({"email": "ada@example.com", "password": "secret"}),
    )
    .await;
    let (_, second) = refresh(&stack, &first).await;
    // The parent of the active token gives the active one again, however late.
    stack.auth().advance_clock(Duration::from_secs(60));
    let (status, again) = refresh(&stack, &first).await;
    assert_eq!((status, &again["refresh_token"]), (200, &second["refresh_token"]));
    let (_, third) = refresh(&stack, &second).await;
    // Within the interval, an older one does, too.
    assert_eq!(
        refresh(&stack, &second).await.1["refresh_token"],
        third["refresh_token"]
    );
    stack.auth().advance_clock(Duration::from_secs(60));
    let (status, refused) = refresh(&stack, &first).await;
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("refresh_token_already_used"))
    );
    assert_eq!(
        refresh(&stack, &third).await.0,
        400,
        "the whole session has ended"
    );
    stack.stop().await;
}

#[tokio::test]
async fn bans_and_ended_sessions_are_answered_by_their_codes() {
    let Some(stack) = stack().await else { return };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let (_, session) = token(
        &stack,
        "password",
        &json!({"email": "ada@example.com", "password": "secret"}),
    )
    .await;
    stack.auth().ban(&user);
    assert_eq!(refresh(&stack, &session).await.1["code"], "user_banned");
    stack.auth().end_sessions(&user);
    assert_eq!(
        refresh(&stack, &session).await.1["code"],
        "refresh_token_not_found"
    );
    stack.stop().await;
}

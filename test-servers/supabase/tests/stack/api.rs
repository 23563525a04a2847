//! The data API behind its keys.

use reqwest::Method;
use serde_json::{Value, json};

use crate::project::{answer, ask, id, insert, post, stack};

#[tokio::test]
async fn keys_decide_who_may_call_and_as_whom() {
    let Some(stack) = stack().await else { return };
    let url = format!("{}/rest/v1/todo?select=id", stack.url());
    let client = reqwest::Client::new();
    let (status, body) = answer(client.get(&url)).await;
    assert_eq!(
        (status, &body["message"]),
        (401, &json!("No API key found in request"))
    );
    let (status, body) = answer(client.get(&url).header("apikey", "sb_publishable_other")).await;
    assert_eq!((status, &body["message"]), (401, &json!("Invalid API key")));
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let token = stack.access_token(&user);
    assert_eq!(insert(&stack, &token, 1).await.0, 201);
    let rows =
        |request: reqwest::RequestBuilder| async move { answer(request).await.1.as_array().unwrap().len() };
    let path = "/rest/v1/todo?select=id";
    assert_eq!(
        rows(ask(&stack, Method::GET, path)).await,
        0,
        "nobody is signed in"
    );
    assert_eq!(
        rows(ask(&stack, Method::GET, path).bearer_auth(stack.publishable_key())).await,
        0,
        "the key is no token"
    );
    assert_eq!(rows(ask(&stack, Method::GET, path).bearer_auth(&token)).await, 1);
    let secret = client.get(&url).header("apikey", stack.secret_key());
    assert_eq!(rows(secret).await, 1);
    let in_browser = client
        .get(&url)
        .header("apikey", stack.secret_key())
        .header("user-agent", "Mozilla/5.0");
    assert_eq!(answer(in_browser).await.0, 401);
    stack.stop().await;
}

#[tokio::test]
async fn tokens_are_refused_by_their_signature_and_by_the_clock_of_the_project() {
    let Some(stack) = stack().await else { return };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let token = stack.access_token(&user);
    let get = |token: String| ask(&stack, Method::GET, "/rest/v1/todo").bearer_auth(token);
    assert_eq!(answer(get(token.clone())).await.0, 200);
    let (status, body) = answer(get(format!("{token}x"))).await;
    assert_eq!((status, &body["code"]), (401, &json!("PGRST301")));
    stack.auth().advance_clock(std::time::Duration::from_secs(3601));
    let (status, body) = answer(get(token)).await;
    assert_eq!(
        (status, &body["code"], &body["message"]),
        (401, &json!("PGRST303"), &json!("JWT expired"))
    );
    assert_eq!(
        answer(get(stack.access_token(&user))).await.0,
        200,
        "a token made now is good"
    );
    stack.stop().await;
}

#[tokio::test]
async fn answers_have_the_forms_that_clients_rely_on() {
    let Some(stack) = stack().await else { return };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let token = stack.access_token(&user);
    for number in 1..=3 {
        assert_eq!(insert(&stack, &token, number).await.0, 201);
    }
    let (status, body) = insert(&stack, &token, 1).await;
    assert_eq!((status, &body["code"]), (409, &json!("23505")));
    let page = ask(
        &stack,
        Method::GET,
        "/rest/v1/todo?select=id&order=id.asc&limit=2",
    )
    .bearer_auth(&token);
    let page = page.header("prefer", "count=exact").send().await.unwrap();
    assert_eq!(
        (
            page.status().as_u16(),
            page.headers()["content-range"].to_str().unwrap()
        ),
        (206, "0-1/3")
    );
    let path = format!(
        "/rest/v1/todo?or=(title.gt.1,and(title.eq.1,id.gt.{}))&select=title&order=title",
        id(0)
    );
    let (_, body) = answer(ask(&stack, Method::GET, &path).bearer_auth(&token)).await;
    assert_eq!(body, json!([{"title": "1"}, {"title": "2"}, {"title": "3"}]));
    for (path, status, code) in [
        ("/rest/v1/nothing", 404, "PGRST205"),
        ("/rest/v1/todo?id=eq.x", 400, "22P02"),
    ] {
        let (found, body) = answer(ask(&stack, Method::GET, path).bearer_auth(&token)).await;
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{path}");
    }
    let (status, body) = answer(post(&stack, "/rest/v1/rpc/nothing", &json!({})).bearer_auth(&token)).await;
    assert_eq!((status, &body["code"]), (404, &json!("PGRST202")));
    let (status, body) =
        answer(post(&stack, "/rest/v1/rpc/is_null", &json!({"given": "x"})).bearer_auth(&token)).await;
    assert_eq!((status, body), (200, Value::Bool(false)));
    stack.stop().await;
}

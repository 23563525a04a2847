//! Disturbances.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use supabase_stack::Fault;

use crate::project::{answer, ask, insert, stack};

#[tokio::test]
async fn each_disturbance_does_what_it_says_to_one_request() {
    let Some(stack) = stack().await else { return };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let token = stack.access_token(&user);
    let count = || async {
        let count: i64 = sqlx::query_scalar("select count(*) from public.todo")
            .fetch_one(stack.pool())
            .await
            .unwrap();
        count
    };
    let post = |number: u32| {
        let row = json!({"id": crate::project::id(number), "title": "x"});
        crate::project::post(&stack, "/rest/v1/todo", &row).bearer_auth(&token)
    };
    stack.faults().next("/todo", Fault::DropBefore);
    assert!(post(1).send().await.is_err());
    assert_eq!(count().await, 0);
    stack.faults().next("/todo", Fault::DropAfter);
    assert!(post(1).send().await.is_err());
    assert_eq!(count().await, 1);
    stack.faults().next("/todo", Fault::Twice);
    assert_eq!(
        post(2).send().await.unwrap().status(),
        409,
        "the second one finds the first"
    );
    stack.faults().next(
        "/todo",
        Fault::Status {
            status: 503,
            retry_after: Some(7),
        },
    );
    let busy = post(3).send().await.unwrap();
    assert_eq!(
        (
            busy.status().as_u16(),
            busy.headers()["retry-after"].to_str().unwrap()
        ),
        (503, "7")
    );
    let scripted = Fault::Answer {
        status: 500,
        body: r#"{"code":"40P01","message":"deadlock detected"}"#.into(),
    };
    stack.faults().next("/todo", scripted);
    assert_eq!(answer(post(3)).await.1["code"], "40P01");
    stack.faults().next("select=id", Fault::TruncateBody);
    let get = ask(&stack, Method::GET, "/rest/v1/todo?select=id").bearer_auth(&token);
    assert!(get.send().await.unwrap().text().await.is_err());
    stack
        .faults()
        .next("/todo", Fault::Delay(Duration::from_secs(60)));
    assert!(post(4).timeout(Duration::from_millis(100)).send().await.is_err());
    assert_eq!(
        (stack.faults().waiting(), insert(&stack, &token, 5).await.0),
        (0, 201)
    );
    stack.faults().always("/todo", Some(Fault::DropBefore));
    assert!(post(6).send().await.is_err() && post(6).send().await.is_err());
    stack.faults().always("/todo", None);
    assert_eq!(post(6).send().await.unwrap().status(), 201);
    let last = stack.requests().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.authorization),
        ("POST", Some(format!("Bearer {token}")))
    );
    stack.stop().await;
}

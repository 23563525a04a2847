//! What a network and a busy project do: lost answers, deadlocks, timeouts, limits, damaged bodies.

use std::time::Duration;

use serde_json::{Value, json};
use supabase_stack::{Fault, Recorded};
use sync_core::{ErrorKind, PushOutcome, RemoteStore, RetryClass};

use super::world::{World, batch, code, create, page};

on_each_stack!(
    case_03_a_lost_answer_of_a_push_has_no_second_effect,
    case_29_deadlocks_and_lost_races_are_sent_again_with_the_same_ids,
    case_30_a_timeout_makes_pages_and_batches_smaller,
    case_31_a_rate_limit_tells_its_pause,
    case_32_a_damaged_answer_passes_and_moves_no_cursor,
    proxies_that_fail_pass_too,
    a_request_that_arrives_twice_has_one_effect,
    a_batch_with_a_value_that_cannot_be_read_is_sent_in_halves,
);

fn sql_error(code: &str) -> Fault {
    let body = json!({"code": code, "message": "told by the test", "details": null, "hint": null});
    Fault::Answer {
        status: 500,
        body: body.to_string(),
    }
}

/// The arguments of the calls of a function, in their order.
fn arguments(world: &World, function: &str) -> Vec<Value> {
    let of_function = |request: &&Recorded| request.path.ends_with(function);
    let requests = world.stack.requests();
    let calls = requests.iter().filter(of_function);
    calls
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect()
}

fn op_ids(arguments: &Value) -> Vec<Value> {
    let ops = arguments["p_ops"].as_array().unwrap();
    ops.iter().map(|op| op["op"].clone()).collect()
}

async fn case_03_a_lost_answer_of_a_push_has_no_second_effect(world: &World) {
    let device = world.device(&world.ada, "s").await;
    device.create(1, "tea").await;
    device.sync().await;
    device.retitle(1, "milk").await;
    device.create(2, "rum").await;
    world.stack.faults().next("rpc/sync_push", Fault::DropAfter);
    device.sync_until_sent().await;
    assert_eq!(world.stack.faults().waiting(), 0);
    let changes = "select sum(seq)::bigint from sync.scope";
    assert_eq!(
        world.number(changes).await,
        3,
        "three writes took numbers, the repetition none"
    );
    assert_eq!(world.number("select count(*) from public.todo").await, 2);
    let counts = device.pending().await;
    assert_eq!(counts.total(), 0, "{counts:?}");
}

async fn case_29_deadlocks_and_lost_races_are_sent_again_with_the_same_ids(world: &World) {
    let device = world.device(&world.ada, "s").await;
    world.stack.forget_requests();
    for code in ["40P01", "40001", "55P03"] {
        world.stack.faults().next("rpc/sync_push", sql_error(code));
    }
    device.create(1, "tea").await;
    device.create(2, "milk").await;
    device.sync_until_sent().await;
    // The engine looks for the one at fault, so they may come one by one; their ids stay the same.
    let sent: Vec<_> = arguments(world, "sync_push").iter().map(op_ids).collect();
    assert!(sent.len() >= 4 && world.stack.faults().waiting() == 0, "{sent:?}");
    assert!(sent.iter().flatten().all(|id| sent[0].contains(id)), "{sent:?}");
    assert_eq!(world.number("select count(*) from public.todo").await, 2);
}

async fn case_30_a_timeout_makes_pages_and_batches_smaller(world: &World) {
    world.make(1..=40).await;
    let remote = world.remote(&world.ada).await;
    world.stack.forget_requests();
    world.stack.faults().next("rpc/sync_pull", sql_error("57014"));
    world.stack.faults().next(
        "rpc/sync_pull",
        Fault::Status {
            status: 413,
            retry_after: None,
        },
    );
    let delta = remote.pull(page(None, 40)).await.unwrap();
    let limits: Vec<_> = arguments(world, "sync_pull")
        .iter()
        .map(|call| call["p_limit"].clone())
        .collect();
    assert_eq!(limits, [40, 20, 10]);
    assert_eq!((delta.changes.len(), delta.has_more), (10, true));

    world.stack.faults().next("rpc/sync_push", sql_error("57014"));
    let ops = (100..108)
        .map(|number| create(number, json!({"title": "x"})))
        .collect();
    let outcomes = remote.push(batch(ops)).await.unwrap();
    assert!(outcomes.len() == 8 && outcomes.iter().all(|outcome| code(outcome) == "applied"));
    let sizes: Vec<_> = arguments(world, "sync_push")
        .iter()
        .map(|call| op_ids(call).len())
        .collect();
    assert_eq!(sizes, [8, 4, 4]);

    // What cannot be made smaller may pass later.
    world
        .stack
        .faults()
        .always("rpc/sync_pull", Some(sql_error("57014")));
    let error = remote.pull(page(None, 8)).await.unwrap_err();
    world.stack.faults().always("rpc/sync_pull", None);
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Server, RetryClass::Backoff)
    );
}

async fn case_31_a_rate_limit_tells_its_pause(world: &World) {
    world.make(1..=1).await;
    let remote = world.remote(&world.ada).await;
    let limited = || Fault::Status {
        status: 429,
        retry_after: Some(1),
    };
    world.stack.faults().next("rpc/sync_pull", limited());
    let error = remote.pull(page(None, 10)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::RateLimited, RetryClass::After(Duration::from_secs(1)))
    );
    let device = world.device(&world.ada, "s").await;
    world.stack.faults().next("rpc/sync_pull", limited());
    assert_eq!(device.refused_sync().await, ErrorKind::RateLimited);
    device.sync_until_sent().await;
    device.sync().await;
    assert_eq!(device.titles().await.len(), 1);
}

async fn case_32_a_damaged_answer_passes_and_moves_no_cursor(world: &World) {
    world.make(1..=5).await;
    let device = world.device(&world.ada, "s").await;
    device.sync().await;
    world.make(6..=10).await;
    let remote = world.remote(&world.ada).await;
    for fault in [
        Fault::TruncateBody,
        Fault::Answer {
            status: 200,
            body: "{\"cursor\":\"x\",\"more\":fal".to_owned(),
        },
    ] {
        world.stack.faults().next("rpc/sync_pull", fault.clone());
        let error = remote.pull(page(None, 10)).await.unwrap_err();
        assert_eq!(error.retry(), RetryClass::Backoff, "{error:?}");
        assert!(error.outcome_unknown());
        world.stack.faults().next("rpc/sync_pull", fault);
        device.engine.synchronize(device.scope()).await.unwrap_err();
    }
    assert_eq!(device.titles().await.len(), 5);
    device.sync_until_sent().await;
    device.sync().await;
    assert_eq!(device.titles().await.len(), 10);

    // A push whose answer is damaged took effect; sent again, it is known.
    let op = create(20, json!({"title": "x"}));
    world.stack.faults().next("rpc/sync_push", Fault::TruncateBody);
    let error = remote.push(batch(vec![op.clone()])).await.unwrap_err();
    assert!(
        error.outcome_unknown() && error.retry() == RetryClass::Backoff,
        "{error:?}"
    );
    let outcomes = remote.push(batch(vec![op])).await.unwrap();
    assert!(
        matches!(outcomes[0], PushOutcome::Duplicate { version: Some(_) }),
        "{outcomes:?}"
    );
}

async fn proxies_that_fail_pass_too(world: &World) {
    world.make(1..=2).await;
    let device = world.device(&world.ada, "s").await;
    for status in [502, 503, 504, 520, 522, 530] {
        let fault = Fault::Status {
            status,
            retry_after: None,
        };
        world.stack.faults().next("rpc/sync_pull", fault);
        assert_eq!(device.refused_sync().await, ErrorKind::Server, "{status}");
    }
    device.sync_until_sent().await;
    device.sync().await;
    assert_eq!(device.titles().await.len(), 2);
}

async fn a_request_that_arrives_twice_has_one_effect(world: &World) {
    let remote = world.remote(&world.ada).await;
    world.stack.faults().next("rpc/sync_push", Fault::Twice);
    let ops = vec![create(1, json!({"title": "x"})), create(2, json!({"title": "y"}))];
    let outcomes = remote.push(batch(ops)).await.unwrap();
    assert!(
        outcomes.iter().all(|outcome| code(outcome) == "duplicate"),
        "{outcomes:?}"
    );
    assert_eq!(world.number("select sum(seq)::bigint from sync.scope").await, 2);
}

async fn a_batch_with_a_value_that_cannot_be_read_is_sent_in_halves(world: &World) {
    let remote = world.remote(&world.ada).await;
    let refused = |code: &str| Fault::Answer {
        status: 400,
        body: json!({"code": code, "message": "told by the test"}).to_string(),
    };
    let ops = |first: u64| {
        (first..first + 4)
            .map(|number| create(number, json!({"title": "x"})))
            .collect()
    };
    world.stack.forget_requests();
    // The whole, its first half, and the first of that: the one at fault.
    for _ in 0..3 {
        world.stack.faults().next("rpc/sync_push", refused("22P02"));
    }
    let outcomes = remote.push(batch(ops(1))).await.unwrap();
    let codes: Vec<&str> = outcomes.iter().map(code).collect();
    assert_eq!(codes, ["22P02", "applied", "applied", "applied"]);
    let sizes: Vec<_> = arguments(world, "sync_push")
        .iter()
        .map(|call| op_ids(call).len())
        .collect();
    assert_eq!(sizes, [4, 2, 1, 3]);
    // A request that is wrong in another way says nothing of any operation.
    world.stack.faults().next("rpc/sync_push", refused("PGRST102"));
    let error = remote.push(batch(ops(11))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(world.number("select count(*) from public.todo").await, 3);
}

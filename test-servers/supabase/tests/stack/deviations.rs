//! The ledger of deviations: each entry is still needed, and its mend gives PostgREST's answer.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use supabase_stack::{
    Stack,
    deviations::{Deviation, LEDGER, MEND_OF_TIMES},
};

use crate::project::{ask, id, post, stack};

/// A request that meets the deviation.
fn request(stack: &Stack, token: &str, deviation: Deviation, number: u32) -> RequestBuilder {
    let foreign = json!({"id": id(number), "owner": id(0), "title": "x"});
    let own = json!([{"id": id(number), "title": "x"}]);
    let request = match deviation {
        Deviation::RefusalOfSignedInUsers => post(stack, "/rest/v1/todo", &foreign),
        Deviation::QuotedColumnNames => post(stack, "/rest/v1/todo?columns=%22id%22,%22title%22", &own),
        Deviation::NullArguments => post(stack, "/rest/v1/rpc/is_null", &json!({"given": null})),
        Deviation::ErrorsWithoutCharset => post(stack, "/rest/v1/rpc/nothing", &json!({})),
        Deviation::TimesInFiltersOfWrites => ask(
            stack,
            Method::PATCH,
            "/rest/v1/todo?made_at=eq.2026-01-01T00:00:00Z",
        )
        .header("content-type", "application/json")
        .body(json!({"title": "y"}).to_string()),
        other => panic!("no request for {other:?}"),
    };
    request.bearer_auth(token)
}

/// Whether an answer is the one that PostgREST gives.
fn is_postgrest(deviation: Deviation, status: u16, content_type: &str, body: &Value) -> bool {
    match deviation {
        Deviation::RefusalOfSignedInUsers => status == 403 && body["code"] == "42501",
        Deviation::QuotedColumnNames => status == 201,
        Deviation::NullArguments => *body == json!(true),
        Deviation::TimesInFiltersOfWrites => status == 204,
        Deviation::ErrorsWithoutCharset => content_type == "application/json; charset=utf-8",
        other => panic!("no answer for {other:?}"),
    }
}

async fn set_mended(stack: &Stack, deviation: Deviation, mended: bool) {
    if deviation != Deviation::TimesInFiltersOfWrites {
        return stack.set_mended(deviation, mended);
    }
    let none = "drop cast if exists (text as timestamptz)";
    stack.run_sql(none).await.unwrap();
    if mended {
        stack.run_sql(MEND_OF_TIMES).await.unwrap();
    }
}

#[tokio::test]
async fn every_entry_is_still_needed_and_its_mend_is_right() {
    let Some(stack) = stack().await else { return };
    let user = stack.add_user("ada@example.com", "secret").await.unwrap();
    let token = stack.access_token(&user);
    let mut wrong = Vec::new();
    for (place, entry) in LEDGER.iter().enumerate() {
        // A server keeps the plan of a request that was mended in the database.
        for mended in [false, true] {
            set_mended(&stack, entry.deviation, mended).await;
            let number = u32::try_from(place).unwrap() * 2 + u32::from(mended) + 1;
            let answer = request(&stack, &token, entry.deviation, number)
                .send()
                .await
                .unwrap();
            let status = answer.status().as_u16();
            let content_type = answer
                .headers()
                .get("content-type")
                .map(|value| value.to_str().unwrap().to_owned());
            let body = answer.text().await.unwrap();
            let json = serde_json::from_str(&body).unwrap_or_default();
            if is_postgrest(entry.deviation, status, &content_type.unwrap_or_default(), &json) != mended {
                let why = if mended {
                    "the mend is wrong"
                } else {
                    "the entry is obsolete"
                };
                wrong.push(format!("{:?}: {why}: {status} {body}", entry.deviation));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stack.stop().await;
}

//! Every answer fits the official OpenAPI file, but for the known deviations.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use appwrite_stand_in::{Body, Column, ColumnKind, Contract, Deviation, Profile, Quirk, StandIn, TableSpec};

use serde_json::json;

use crate::network::{create, send};
use crate::replay::replay;

#[test]
fn every_replayed_answer_fits_the_openapi_file_and_each_known_deviation_shows() {
    let Some(contract) = Contract::of(Profile::V1_9_6).expect("the OpenAPI file can be read") else {
        return;
    };
    let mut shown = BTreeSet::new();
    let mut checked = 0;
    let mut problems = Vec::new();
    let report = replay(Profile::V1_9_6.quirks(), &mut |exchange, request, response| {
        checked += 1;
        match contract.check(request, response) {
            Ok(deviations) => shown.extend(deviations),
            Err(problem) => problems.push(format!("{} {}: {problem}", exchange.number, exchange.case)),
        }
    });
    println!(
        "{checked} answers checked, {} of them equal to the recording",
        report.equal
    );
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let known: BTreeSet<Deviation> = Deviation::ALL.iter().copied().collect();
    assert_eq!(
        shown, known,
        "a known deviation that never shows must be taken off the list"
    );
    assert_eq!(checked, 394);
}

#[test]
fn an_answer_that_breaks_the_openapi_file_is_found() {
    let Some(contract) = Contract::of(Profile::V1_9_6).expect("the OpenAPI file can be read") else {
        return;
    };
    let mut found = 0;
    replay(Profile::V1_9_6.quirks(), &mut |exchange, request, response| {
        if exchange.case == "get.ok" {
            let mut broken = response.clone();
            if let Body::Json(body) = &mut broken.body {
                body["$updatedAt"] = json!(5);
            }
            found += usize::from(contract.check(request, &broken).is_err());
        }
    });
    assert!(found > 0, "a number in the place of a date is no row");
}

/// A server whose rows break the OpenAPI file: a sequence that is a number fits the file of 1.8.1, not that of 1.9.
async fn breaking_server() -> Option<StandIn> {
    let quirks = Profile::V1_9_6.quirks().without(Quirk::SequenceIsText);
    let server = StandIn::start_with(Profile::V1_9_6, quirks, 0).await.unwrap();
    let title = Column::required("title", ColumnKind::Text { size: 128 });
    server.create_table("db1", &TableSpec::new("notes").column(title));
    server.checks_contract().then_some(server)
}

#[tokio::test]
async fn an_answer_that_breaks_the_openapi_file_is_never_sent() {
    let Some(server) = breaking_server().await else {
        return;
    };
    let key = server.create_key();

    let broken = create(&server, &key, "a").await;
    let fine = send(&server, &key, "GET", "/v1/ping", &json!(null)).await;

    assert_eq!(
        (broken.status(), &broken.json()["type"]),
        (500, &json!("stand_in_contract"))
    );
    assert_eq!(fine.status(), 200);
    let violations = server.take_contract_violations();
    assert!(
        violations.len() == 1 && violations[0].contains("POST"),
        "{violations:?}"
    );
}

#[tokio::test]
async fn a_test_whose_server_broke_the_openapi_file_fails_at_its_end() {
    let Some(server) = breaking_server().await else {
        return;
    };
    create(&server, &server.create_key(), "a").await;

    let ended = catch_unwind(AssertUnwindSafe(|| drop(server)));

    assert!(ended.is_err(), "the end of the server fails the test");
}

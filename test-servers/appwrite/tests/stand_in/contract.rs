//! Every answer fits the official OpenAPI file, but for the known deviations.

use std::collections::BTreeSet;

use appwrite_stand_in::{Contract, Deviation, Profile};

use crate::replay::replay;

#[test]
fn every_replayed_answer_fits_the_openapi_file_and_each_known_deviation_shows() {
    let Some(contract) = Contract::load(Profile::V1_9_6).expect("the OpenAPI file can be read") else {
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
    let Some(contract) = Contract::load(Profile::V1_9_6).expect("the OpenAPI file can be read") else {
        return;
    };
    let mut found = 0;
    replay(Profile::V1_9_6.quirks(), &mut |exchange, request, response| {
        if exchange.case == "get.ok" {
            let mut broken = response.clone();
            if let appwrite_stand_in::Body::Json(body) = &mut broken.body {
                body["$updatedAt"] = serde_json::json!(5);
            }
            found += usize::from(contract.check(request, &broken).is_err());
        }
    });
    assert!(found > 0, "a number in the place of a date is no row");
}

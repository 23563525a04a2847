//! The one sample of a real 1.8.1.

use std::path::Path;

use appwrite_stand_in::{Body, Profile, StandIn, TableSpec};
use serde_json::{Value, json};

#[tokio::test]
async fn a_row_of_1_8_1_has_a_number_as_its_sequence_and_the_recorded_fields() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/appwrite-1.8.1-sample.json");
    let text = std::fs::read_to_string(path).unwrap();
    let sample: Value = serde_json::from_str(&text).unwrap();
    let server = StandIn::start(Profile::V1_8_1).await.unwrap();
    server.create_table("db1", &TableSpec::recorded_notes());

    let body = json!({"rowId": "r1", "data": {"title": "a"}});
    let answer = server.as_key("POST", "/v1/tablesdb/db1/tables/notes/rows", &body);

    let Body::Json(mut row) = answer.body else {
        panic!("a row is JSON")
    };
    for date in ["$createdAt", "$updatedAt"] {
        row[date] = sample["body"][date].clone();
    }
    assert_eq!((answer.status, row), (201, sample["body"].clone()));
}

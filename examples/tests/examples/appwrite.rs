//! The programs that meet at an Appwrite, here the stand-in.

use std::process::Command;

use appwrite_stand_in::{Column, ColumnKind, Profile, StandIn, TableSpec};
use tokio::runtime::Runtime;

use crate::{
    complaint, printed,
    two_devices::{EQUAL, Input, PROGRAM, json_lines, row},
};

/// A stand-in for a server of one's own; the runtime must outlive it.
fn own_server() -> (Runtime, StandIn) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(StandIn::start(Profile::V1_9_6)).unwrap();
    (runtime, server)
}

fn live_check(server: &StandIn, key: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_appwrite_live_check"));
    program
        .env("APPWRITE_ENDPOINT", server.endpoint())
        .env("APPWRITE_PROJECT", server.project())
        .env("APPWRITE_KEY", key);
    program
}

#[test]
fn the_live_check_prepares_a_server_examines_it_and_leaves_nothing_behind() {
    let (_runtime, server) = own_server();

    let output = live_check(&server, &server.create_key()).output().unwrap();

    let text = printed(&output, 0);
    let certificate = text.lines().next().unwrap();
    assert!(
        certificate.contains("appwrite") && certificate.contains(" 0 failed"),
        "{certificate}"
    );
    let cases = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(cases >= 50, "{cases} cases passed\n{text}");
    let requests = server.requests();
    let last = requests.last().unwrap();
    assert_eq!(
        (last.request.method.as_str(), last.status),
        ("DELETE", Some(204)),
        "{last:?}"
    );
    let made = requests
        .iter()
        .find(|logged| logged.request.path == "/v1/tablesdb")
        .unwrap();
    let database = made.request.body_json().unwrap()["databaseId"].clone();
    assert_eq!(
        last.request.path,
        format!("/v1/tablesdb/{}", database.as_str().unwrap())
    );
}

#[test]
fn the_live_check_says_in_one_line_that_a_key_is_refused_or_missing() {
    let (_runtime, server) = own_server();

    let refused = complaint(&live_check(&server, "no key of it").output().unwrap(), 1);
    let missing = live_check(&server, "").env_remove("APPWRITE_KEY").output();

    assert!(refused.contains("user_unauthorized"), "{refused}");
    let missing = complaint(&missing.unwrap(), 1);
    assert!(missing.contains("APPWRITE_KEY"), "{missing}");
}

#[test]
fn devices_that_meet_at_the_stand_in_end_equal() {
    let input = Input::new("records.jsonl", json_lines(300));
    let text = printed(&input.run(&["--remote", "appwrite"]), 0);
    assert!(text.contains("a stand-in for Appwrite"), "{text}");
    assert!(text.contains(EQUAL), "{text}");
    assert!(text.contains("that took effect more than once: 0"), "{text}");
    assert!(row(&text, "retries").iter().all(|retries| *retries > 0), "{text}");
}

#[test]
fn a_table_of_ones_own_is_used_by_run_after_run() {
    let (_runtime, server) = own_server();
    let text = |key, size| Column::optional(key, ColumnKind::Text { size });
    server.create_table(
        "two_devices",
        &TableSpec::new("two_devices")
            .column(text("doc", 1_000_000))
            .column(text("run", 36))
            .column(text("op_id", 36))
            .column(Column::optional("deleted", ColumnKind::Boolean).default(false)),
    );
    let input = Input::new("records.jsonl", json_lines(100));
    let (endpoint, project, key) = (server.endpoint(), server.project(), server.create_key());
    for _ in 0..2 {
        let output = Command::new(PROGRAM)
            .args(["--input", &input.file, "--edits", "20", "--conflicts", "10"])
            .args([
                "--remote",
                "appwrite",
                "--remote-url",
                &endpoint,
                "--remote-user",
                &project,
            ])
            .env("REMOTE_PASSWORD", &key)
            .output()
            .unwrap();
        let text = printed(&output, 0);
        assert!(
            text.contains("and stay there under the run") && text.contains(EQUAL),
            "{text}"
        );
    }
}

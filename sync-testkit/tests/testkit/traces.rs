//! Our traces hold on both stores, and the runner sees what does not hold.

use std::{fs, path::Path};

use sync_testkit::traces::{Failure, Outcome, StoreKind, Trace, parse_traces, run_trace};

/// Every trace of this crate.
fn our_traces() -> Vec<Trace> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder is part of the crate")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let traces = files.iter().flat_map(|path| {
        let text = fs::read_to_string(path).expect("it can be read");
        parse_traces(&path.display().to_string(), &text).expect("it is of the vocabulary")
    });
    traces.collect()
}

async fn all_hold_on(kind: StoreKind) {
    let traces = our_traces();
    let mut failed = Vec::new();
    let mut passed = 0;
    for trace in &traces {
        let report = run_trace(trace, kind).await;
        match report.outcome {
            Outcome::Passed => passed += 1,
            Outcome::Failed(_) => failed.push(report.to_string()),
            Outcome::Unsupported(_) => {}
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(passed >= 240, "only {passed} traces were run to their end");
}

#[tokio::test]
async fn all_traces_hold_on_the_store_in_memory() {
    all_hold_on(StoreKind::Memory).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn all_traces_hold_on_real_files() {
    all_hold_on(StoreKind::Sqlite).await;
}

/// A trace with these steps and expectations.
fn trace(config: &str, steps: &str, expect: &str) -> Trace {
    let line = format!(r#"{{"id":"x","cfg":{{{config}}},"trace":[{steps}],"expect":{{{expect}}}}}"#);
    parse_traces("test.jsonl", &line.replace('\n', " "))
        .expect("it is of the vocabulary")
        .remove(0)
}

async fn failures(config: &str, steps: &str, expect: &str) -> Vec<Failure> {
    match run_trace(&trace(config, steps, expect), StoreKind::Memory)
        .await
        .outcome
    {
        Outcome::Failed(failures) => failures,
        other => panic!("{steps} with {expect} ended as {other:?}"),
    }
}

#[tokio::test]
async fn each_word_of_an_expectation_bites() {
    let steps = r#"{"c":"A","op":"create","id":"t","fields":{"n":1}},{"c":"A","op":"sync"}"#;
    for wrong in [
        r#""A":{}"#,
        r#""A":{"t":null}"#,
        r#""A":{"t":{"n":2}}"#,
        r#""A":{"t":{"m":"$any"}}"#,
        r#""A":{"t":{"$one_of":[null,{"n":3}]}}"#,
        r#""A":{"t":{"n":{"$one_of":[2,3]}}}"#,
        r#""A":{"t":{},"u":{}}"#,
        r#""A":["u"]"#,
        r#""remote":{}"#,
        r#""remote":{"@s2/t":{"n":1}}"#,
        r#""B":{"t":{}}"#,
        r#""pending":1"#,
        r#""conflicts":1"#,
        r#""dead":1"#,
        r#""pushes":2"#,
        r#""pushes":{"A":0}"#,
        r#""count":2"#,
        r#""count":{"remote":0}"#,
        r#""server_applied":2"#,
        r#""server_applied":{"t":0}"#,
        r#""server_applied_max":0"#,
        r#""server_ops":["update:t"]"#,
        r#""server_ops":["create:t","t"]"#,
        r#""server_ops":{"t":["create","create"]}"#,
        r#""max_push_batch":0"#,
        r#""converged":false"#,
    ] {
        assert_eq!(failures("", steps, wrong).await[0].step, "expect", "{wrong}");
    }
}

#[tokio::test]
async fn each_word_of_an_assert_step_bites() {
    let before = r#"{"c":"A","op":"create","id":"t","fields":{"n":1}},{"c":"A","op":"sync"}"#;
    for wrong in [
        r#""rows":{}"#,
        r#""rows":{"t":{"n":2}}"#,
        r#""pending":1"#,
        r#""pushes":0"#,
        r#""conflicts":2"#,
        r#""dead":1"#,
        r#""synced_once":false"#,
        r#""count":0"#,
        r#""requests":0"#,
        r#""last_pull_rows":7"#,
    ] {
        let steps = format!(r#"{before},{{"c":"A","op":"assert",{wrong}}}"#);
        assert_eq!(failures("", &steps, "").await[0].step, "3", "{wrong}");
    }
    let remote = format!(r#"{before},{{"c":"remote","op":"assert","rows":{{"t":{{"n":9}}}}}}"#);
    let failure = failures("", &remote, "").await.remove(0);
    assert_eq!(
        (failure.expected.as_str(), failure.got.as_str()),
        (r#"at the remote row t: {"n":9}"#, "it has `n` = 1, expected 9")
    );
}

#[tokio::test]
async fn a_step_that_must_fail_and_one_that_must_not_are_told_apart() {
    let succeeds = r#"{"c":"A","op":"create","id":"t","expect":"err"}"#;
    assert_eq!(failures("", succeeds, "").await[0].expected, "an error");
    let fails = r#"{"c":"A","op":"update","id":"t","fields":{"n":1}}"#;
    assert_eq!(failures("", fails, "").await[0].expected, "success");
    let quiet_sync = r#"{"c":"A","op":"sync","expect":"err"}"#;
    assert_eq!(failures("", quiet_sync, "").await[0].expected, "an error");
}

#[tokio::test]
async fn what_fails_in_a_nested_step_is_named_by_its_place() {
    let nested = r#"{"c":"A","op":"create","id":"t"},
        {"c":"A","op":"sync","during_push":[{"c":"remote","op":"assert","rows":{}}]}"#;
    assert_eq!(failures("", nested, "").await[0].step, "2.during_push.1");
}

/// Steps before a fault, the fault, and what holds right after it only if it struck.
#[tokio::test]
async fn each_fault_strikes() {
    let create = r#"{"c":"A","op":"create","id":"t","fields":{"n":1}}"#;
    let put = r#"{"c":"S","op":"put","id":"s","fields":{"n":1}}"#;
    for (before, fault, holds) in [
        (
            create,
            r#""offline""#,
            r#"{"c":"A","op":"assert","requests":0,"pending":1}"#,
        ),
        (
            create,
            r#""lost_req""#,
            r#"{"c":"A","op":"assert","pushes":1,"pending":1},{"c":"remote","op":"assert","rows":{}}"#,
        ),
        (
            create,
            r#""lost_ack""#,
            r#"{"c":"A","op":"assert","pending":1},{"c":"remote","op":"assert","rows":{"t":{}}}"#,
        ),
        (
            create,
            r#""push_500""#,
            r#"{"c":"A","op":"assert","pending":1},{"c":"remote","op":"assert","rows":{}}"#,
        ),
        (
            create,
            r#""http_401""#,
            r#"{"c":"A","op":"assert","pending":1,"requests":1}"#,
        ),
        (
            create,
            r#""http_429""#,
            r#"{"c":"A","op":"assert","pending":1,"requests":1}"#,
        ),
        (
            create,
            r#"{"retryable":["create:t"]}"#,
            r#"{"c":"A","op":"assert","pending":1,"dead":0}"#,
        ),
        (
            create,
            r#"{"reject":["t"]}"#,
            r#"{"c":"A","op":"assert","pending":0,"dead":1}"#,
        ),
        (create, r#""db_busy""#, r#"{"c":"A","op":"assert","pending":1}"#),
        (create, r#""disk_full""#, r#"{"c":"A","op":"assert","pending":1}"#),
        (
            create,
            r#""crash:before_push""#,
            r#"{"c":"A","op":"assert","pending":1,"pushes":0}"#,
        ),
        (
            create,
            r#""crash:after_push""#,
            r#"{"c":"A","op":"assert","pending":1},{"c":"remote","op":"assert","rows":{"t":{}}}"#,
        ),
        (
            create,
            r#"{"only_scope":"s2"}"#,
            r#"{"c":"A","op":"assert","pending":1}"#,
        ),
        (
            put,
            r#""pull_500""#,
            r#"{"c":"A","op":"assert","rows":{},"synced_once":false}"#,
        ),
        (
            put,
            r#""lost_pull""#,
            r#"{"c":"A","op":"assert","rows":{},"last_pull_rows":1}"#,
        ),
        (
            put,
            r#""truncate_pull""#,
            r#"{"c":"A","op":"assert","rows":{},"last_pull_rows":1}"#,
        ),
        (
            put,
            r#""bad_cursor""#,
            r#"{"c":"A","op":"assert","rows":{},"last_pull_rows":1}"#,
        ),
        (
            put,
            r#"{"fail_after_pages":0}"#,
            r#"{"c":"A","op":"assert","rows":{}}"#,
        ),
        (
            put,
            r#""crash:mid_apply""#,
            r#"{"c":"A","op":"assert","rows":{},"last_pull_rows":1}"#,
        ),
        (
            put,
            r#""crash:after_apply""#,
            r#"{"c":"A","op":"assert","rows":{"s":{}},"synced_once":false}"#,
        ),
    ] {
        let steps = format!(r#"{before},{{"c":"A","op":"sync","fault":{fault}}},{holds}"#);
        let report = run_trace(&trace("", &steps, ""), StoreKind::Memory).await;
        assert_eq!(report.outcome, Outcome::Passed, "{fault}: {report}");
    }
    // Delivered twice: the second delivery is seen by its number.
    let twice = format!(r#"{create},{{"c":"A","op":"sync","fault":"dup"}}"#);
    let report = run_trace(&trace("", &twice, r#""server_applied":1"#), StoreKind::Memory).await;
    assert_eq!(report.outcome, Outcome::Passed);
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_the_sync() {
    let steps = r#"{"c":"A","op":"create","id":"t"},{"c":"A","op":"sync","fault":"cancel:before_push"},
        {"c":"A","op":"assert","pending":0}"#;
    let report = run_trace(&trace("", steps, r#""server_applied":1"#), StoreKind::Memory).await;
    assert_eq!(report.outcome, Outcome::Passed, "{report}");
}

#[test]
fn unknown_words_are_named_with_file_line_and_trace() {
    for (line, word) in [
        (r#"{"id":"x","trace":[{"c":"A","op":"frob"}]}"#, "frob"),
        (
            r#"{"id":"x","trace":[{"c":"S","op":"create","id":"t"}]}"#,
            "create",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"sync","fault":"gremlins"}]}"#,
            "gremlins",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"sync","fault":"crash:at_noon"}]}"#,
            "crash:at_noon",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"sync","fault":{"explode":["t"]}}]}"#,
            "explode",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"sync","when":"soon"}]}"#,
            "when",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"sync","expect":"maybe"}]}"#,
            "maybe",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"read","policy":"cacheOnly"}]}"#,
            "cacheOnly",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"assert","mood":"good"}]}"#,
            "mood",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"create","id":"t","at":"later"}]}"#,
            "later",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"resolve","id":"t","choice":"both"}]}"#,
            "both",
        ),
        (
            r#"{"id":"x","cfg":{"resolver":"dice"},"trace":[{"c":"A","op":"sync"}]}"#,
            "dice",
        ),
        (
            r#"{"id":"x","cfg":{"speed":9},"trace":[{"c":"A","op":"sync"}]}"#,
            "speed",
        ),
        (
            r#"{"id":"x","cfg":{"clock":"sundial"},"trace":[{"c":"A","op":"sync"}]}"#,
            "sundial",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"sync"}],"expect":{"happy":true}}"#,
            "happy",
        ),
        (
            r#"{"id":"x","trace":[{"c":"A","op":"sync"}],"expect":{"A":{"t":{"$maybe":1}}}}"#,
            "$maybe",
        ),
        (r#"{"id":"x","tracy":[]}"#, "tracy"),
        (
            r#"{"id":"x","vectors":[{"op":"think","local":[1,0],"now":1,"want":[1,1]}]}"#,
            "think",
        ),
    ] {
        let text = format!("# a remark\n\n{line}\n");
        let error = parse_traces("some.jsonl", &text).unwrap_err().to_string();
        assert!(error.starts_with(r#"some.jsonl:3: trace "x": "#), "{error}");
        assert!(error.contains(&format!("unknown word `{word}`")), "{error}");
    }
    let error = parse_traces("some.jsonl", "{").unwrap_err().to_string();
    assert!(error.starts_with("some.jsonl:1: not JSON"), "{error}");
}

/// Words that the vocabulary leaves open are understood in every likely form.
#[tokio::test]
async fn many_records_and_rights_can_be_said_in_several_ways() {
    for (many, ids) in [
        (r#""n":2"#, r#"["r0","r1"]"#),
        (r#""n":2,"prefix":"x","from":1"#, r#"["x1","x2"]"#),
        (r#""prefix":"x","from":1,"to":2"#, r#"["x1","x2"]"#),
        (r#""id":"x{i}y","count":2"#, r#"["x0y","x1y"]"#),
        (r#""ids":["a","b"]"#, r#"["a","b"]"#),
        (r#""rows":{"a":{"n":1},"b":{}}"#, r#"{"a":{"n":1},"b":{}}"#),
        (r#""rows":[{"id":"a","fields":{"n":1}}]"#, r#"{"a":{"n":1}}"#),
    ] {
        let steps = format!(r#"{{"c":"S","op":"bulk_put",{many}}},{{"c":"A","op":"sync"}}"#);
        let report = run_trace(&trace("", &steps, &format!(r#""A":{ids}"#)), StoreKind::Memory).await;
        assert_eq!(report.outcome, Outcome::Passed, "{many}: {report}");
    }
    for (right, seen) in [
        (r#""client":"A","allow":false"#, false),
        (r#""client":"B","allow":false"#, true),
        (r#""allow":false"#, false),
        (r#""client":"A","scopes":[]"#, false),
        (r#""client":"A","allow":["s1"]"#, true),
        (r#""access":"none","user":"A""#, false),
        (r#""access":{"A":["s2"]}"#, false),
    ] {
        let steps = format!(
            r#"{{"c":"S","op":"put","id":"x"}},{{"c":"S","op":"set_access",{right}}},{{"c":"A","op":"sync"}}"#
        );
        let expect = if seen { r#""A":["x"]"# } else { r#""A":{}"# };
        let report = run_trace(&trace("", &steps, expect), StoreKind::Memory).await;
        assert_eq!(report.outcome, Outcome::Passed, "{right}: {report}");
    }
}

#[tokio::test]
async fn what_is_not_supported_is_not_passed() {
    let registers = trace(r#""resolver":"field_lww""#, r#"{"c":"A","op":"sync"}"#, "");
    let report = run_trace(&registers, StoreKind::Memory).await;
    assert!(matches!(report.outcome, Outcome::Unsupported(_)), "{report}");
}

#[tokio::test]
async fn wrong_vectors_are_seen() {
    for wrong in [
        r#"{"op":"send","local":[20,3],"now":20,"want":[20,5]}"#,
        r#"{"op":"recv","local":[20,3],"remote":[30,1],"now":20,"want":"drift"}"#,
        r#"{"op":"recv","local":[20,3],"remote":[9000000,1],"now":20,"want":[9000000,2]}"#,
        r#"{"op":"send","local":[20,3],"now":20,"want":"overflow"}"#,
    ] {
        let line = format!(r#"{{"id":"x","vectors":[{wrong}]}}"#);
        let trace = parse_traces("test.jsonl", &line).unwrap().remove(0);
        let report = run_trace(&trace, StoreKind::Memory).await;
        assert!(matches!(report.outcome, Outcome::Failed(_)), "{wrong}: {report}");
    }
}

#[tokio::test]
async fn equal_traces_run_equally() {
    let steps = r#"{"c":"A","op":"bulk_create","n":20},{"c":"B","op":"create","id":"b"},
        {"c":"A","op":"sync","fault":"lost_ack"},{"c":"B","op":"sync"},{"op":"settle"}"#;
    let wrong = r#""server_ops":[]"#;
    let first = failures("", steps, wrong).await;
    assert_eq!(first, failures("", steps, wrong).await);
}

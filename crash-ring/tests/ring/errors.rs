//! Calls to the file system that fail.

use crash_ring::{FaultKind, Subject, errors::sweep};

#[test]
fn a_failing_call_is_told_changes_nothing_and_is_recovered_from() {
    for (subject, every) in [
        (Subject::Full, 15),
        (Subject::FullThroughSqlx, 30),
        (Subject::Normal, 15),
    ] {
        let summary = sweep(subject, every, 2, &|| ()).unwrap();
        println!("{subject:?}: {summary}");
        assert_eq!(summary.violated, 0, "{summary}");
        assert!(summary.told > 30, "{summary}");
        for kind in FaultKind::ALL {
            for sticky in [false, true] {
                let told = summary.runs.contains_key(&(kind, sticky));
                assert!(told, "{kind:?} {sticky}: {summary}");
            }
        }
    }
}

#[test]
fn a_store_that_commits_rows_before_operations_is_caught_by_failing_calls() {
    let summary = sweep(Subject::SplitStatements, 15, 2, &|| ()).unwrap();
    assert!(summary.violated > 5, "{summary}");
}

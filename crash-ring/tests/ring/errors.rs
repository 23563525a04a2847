//! Calls to the file system that fail.

use crash_ring::{FaultKind, Subject, errors::sweep};

#[test]
fn a_failing_call_is_told_changes_nothing_and_is_recovered_from() {
    let summary = sweep(Subject::Full, 11, 2, &|| ()).unwrap();
    println!("{summary}");
    assert_eq!(summary.violated, 0, "{summary}");
    assert!(summary.told > 50, "{summary}");
    for kind in FaultKind::ALL {
        for sticky in [false, true] {
            assert!(summary.runs.contains_key(&(kind, sticky)), "{kind:?} {sticky}");
        }
    }
}

#[test]
fn a_store_that_commits_rows_before_operations_is_caught_by_failing_calls() {
    let summary = sweep(Subject::SplitStatements, 15, 2, &|| ()).unwrap();
    assert!(summary.violated > 5, "{summary}");
}

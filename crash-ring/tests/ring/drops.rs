//! Futures that are dropped.

use crash_ring::{Subject, drops::sweep};

#[test]
fn no_dropped_future_leaves_half_a_write_or_a_lock() {
    for (subject, at_least) in [
        (Subject::Full, 60),
        (Subject::FullThroughSqlx, 120),
        (Subject::Normal, 20),
    ] {
        let summary = sweep(subject, 1, 2, &|| ()).unwrap();
        println!("{subject:?}: {summary}");
        assert!(summary.violations.is_empty(), "{summary}");
        assert!(summary.dropped > at_least, "{summary}");
    }
}

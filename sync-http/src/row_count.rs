//! What the number of rows tells to adapters that read changes by their time.

/// Whether the number of rows is one that the delivered changes cannot explain: they are new rows at most, and never
/// fewer. Then something was deleted, or appeared behind the cursor, and a sweep has to find it. A number that is not
/// known tells nothing.
pub fn count_is_unexplained(before: Option<u64>, now: Option<u64>, delivered: u64) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => now < before || now > before + delivered,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_explained_by_as_many_new_rows_as_were_delivered() {
        for (before, now, delivered, unexplained) in [
            (10, 10, 0, false),
            (10, 11, 1, false),
            (10, 10, 5, false),
            (10, 9, 0, true),
            (10, 9, 5, true),
            (10, 12, 1, true),
            (0, 5, 4, true),
        ] {
            assert_eq!(
                count_is_unexplained(Some(before), Some(now), delivered),
                unexplained,
                "{before} {now} {delivered}"
            );
        }
        assert!(!count_is_unexplained(None, Some(5), 0));
    }
}

//! What happened on the recorded server beside the recorded exchanges: writes that were left out of the
//! recording, and instants that show only in later answers.

use appwrite_stand_in::Timestamp;

/// Parses an instant of the recording day, given as `hh:mm:ss.mmm`.
pub(crate) fn at(time: &str) -> Timestamp {
    Timestamp::parse(&format!("2026-11-21T{time}+00:00")).expect("a time of the day")
}

/// All stamps of an exchange whose answer does not tell them all, in order.
pub(crate) fn untold_stamps(number: usize) -> Option<&'static [&'static str]> {
    Some(match number {
        // Increments answer the old `$updatedAt`.
        62 => &["07:42:39.846"],
        67 => &["07:42:40.024"],
        304 => &["07:47:45.047"],
        // A user: registered, created, and his target created.
        145 => &["07:44:46.715", "07:44:46.715", "07:44:46.721"],
        // The first request of a user notes that he was here: `accessedAt`, then `$updatedAt`.
        149 => &["07:44:47.666", "07:44:47.666"],
        171 => &["07:44:47.842", "07:44:47.843"],
        // Commits: a stamp for each create, upsert, update and increment, and one for the transaction.
        203 => &[
            "07:44:48.256",
            "07:44:48.257",
            "07:44:48.258",
            "07:44:48.263",
            "07:44:48.264",
        ],
        214 => &["07:44:49.454"],
        230 => &["07:45:41.341", "07:45:41.342"],
        245 => &["07:45:41.457", "07:45:41.458", "07:45:41.459"],
        254 => &["07:45:41.535"],
        256 => &[
            "07:45:41.548",
            "07:45:41.549",
            "07:45:41.550",
            "07:45:41.552",
            "07:45:41.554",
        ],
        298 => &["07:47:05.640", "07:47:05.641", "07:47:05.642", "07:47:05.649"],
        325 => &[
            "07:48:40.492",
            "07:48:40.493",
            "07:48:40.497",
            "07:48:40.498",
            "07:48:40.509",
        ],
        337 => &[
            "07:49:12.066",
            "07:49:12.067",
            "07:49:12.068",
            "07:49:12.069",
            "07:49:12.070",
            "07:49:12.072",
        ],
        353 => &["07:56:19.804", "07:56:19.805", "07:56:19.807"],
        360 => &["07:56:19.866", "07:56:19.867"],
        _ => return None,
    })
}

/// A row that a write which was left out of the recording created: id, title, count, body, and when.
pub(crate) struct UntoldRow {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) count: i64,
    pub(crate) body: Option<&'static str>,
    pub(crate) at: &'static str,
}

const fn row(id: &'static str, title: &'static str, count: i64, at: &'static str) -> UntoldRow {
    UntoldRow {
        id,
        title,
        count,
        body: None,
        at,
    }
}

/// Rows that existed before an exchange though no exchange made them; the number is the `$sequence` of the
/// first.
pub(crate) fn untold_rows(number: usize) -> Option<(u64, &'static [UntoldRow])> {
    Some(match number {
        0 => (1, const { &[row("r1", "a", 0, "07:41:02.852")] }),
        75 => (
            22,
            const {
                &[
                    row("s0", "s0", 0, "07:43:34.541"),
                    row("s1", "s1", 1, "07:43:34.548"),
                    row("s2", "s2", 2, "07:43:34.558"),
                    row("s3", "s3", 3, "07:43:34.565"),
                    row("s4", "s4", 4, "07:43:34.572"),
                    row("s5", "s5", 5, "07:43:34.578"),
                ]
            },
        ),
        283 => (
            356,
            const {
                &[
                    row("lk1", "init", 0, "07:46:05.126"),
                    row("lk2", "init", 0, "07:46:05.139"),
                ]
            },
        ),
        338 => (
            386,
            const {
                &[UntoldRow {
                    id: "rc",
                    title: "race",
                    count: 0,
                    body: Some("old"),
                    at: "07:53:37.081",
                }]
            },
        ),
        // No answer shows these; they only count in totals.
        344 => (
            389,
            const {
                &[
                    row("x0", "x", 0, "07:54:00.000"),
                    row("x1", "x", 0, "07:54:00.001"),
                    row("x2", "x", 0, "07:54:00.002"),
                    row("x3", "x", 0, "07:54:00.003"),
                    row("x4", "x", 0, "07:54:00.004"),
                ]
            },
        ),
        347 => (
            395,
            const {
                &[
                    row("cm0", "cm0 1795247779.6815796", 0, "07:56:19.686"),
                    row("cm1", "cm1 1795247779.6928897", 0, "07:56:19.697"),
                    row("cm2", "cm2 1795247779.7033389", 0, "07:56:19.708"),
                    row("cm3", "cm3 1795247779.7132063", 0, "07:56:19.717"),
                    row("cm4", "cm4 1795247779.7232995", 0, "07:56:19.727"),
                    row("cm5", "cm5 1795247779.7331946", 0, "07:56:19.738"),
                ]
            },
        ),
        _ => return None,
    })
}

/// Who sends an exchange that carries a session. The recording hides the secrets.
pub(crate) fn user_of(number: usize, case: &str) -> &'static str {
    let bobs = case.contains("bob") || case.ends_with("other_user") || matches!(number, 278 | 317);
    if bobs { "bob" } else { "alice" }
}

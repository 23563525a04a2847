//! The stand-in answers as the recorded server did.

use appwrite_stand_in::{Profile, Quirk};

use crate::replay::replay;

#[test]
fn every_recorded_exchange_and_frame_comes_out_as_recorded() {
    let report = replay(Profile::V1_9_6.quirks(), &mut |_, _, _| {});
    println!(
        "{} of 394 exchanges and {} of 50 frames replayed",
        report.equal, report.frames
    );
    assert!(report.differences.is_empty(), "{}", report.differences.join("\n"));
    assert_eq!((report.equal, report.frames), (394, 50));
}

#[test]
fn each_quirk_is_pinned_by_a_recording() {
    let mut unpinned = Vec::new();
    for quirk in Quirk::ALL {
        let report = replay(Profile::V1_9_6.quirks().without(*quirk), &mut |_, _, _| {});
        let cited = |difference: &String| quirk.cases().iter().any(|case| difference.contains(case));
        if !report.differences.iter().any(cited) {
            unpinned.push(format!("{quirk:?}: {:?}", report.differences.first()));
        }
    }
    assert!(
        unpinned.is_empty(),
        "no cited case shows:\n{}",
        unpinned.join("\n")
    );
}

//! The end of the process and the loss of power, at every write.

use crash_ring::{
    Damage, Subject,
    power::{Extent, Summary, Violation, sweep},
};

fn played(subject: Subject, every: usize) -> Summary {
    let extent = Extent {
        every,
        converge_each: false,
        threads: 2,
        seed: 1,
    };
    let summary = sweep(subject, extent, &|| ()).unwrap();
    println!("{subject:?}: {summary}");
    for damage in Damage::ALL {
        assert!(summary.crashes.contains_key(&damage), "no {damage:?} was played");
    }
    summary
}

#[test]
fn no_crash_and_no_loss_of_power_loses_an_acknowledged_commit_or_leaves_half_of_one() {
    for (subject, every) in [(Subject::Full, 10), (Subject::FullThroughSqlx, 25)] {
        let summary = played(subject, every);
        assert_eq!(summary.violated(), 0, "{summary}");
        assert!(summary.unpromised_losses.is_empty(), "{summary}");
        assert!(summary.points() > 300 && summary.converged > 50, "{summary}");
    }
}

// The double that shows the sweep bites: see the last two as well.
#[test]
fn with_normal_durability_only_the_loss_of_power_loses_commits_and_never_in_part() {
    let summary = played(Subject::Normal, 30);
    assert_eq!(summary.violated(), 0, "{summary}");
    assert!(
        !summary.unpromised_losses.contains_key(&Damage::Kill),
        "{summary}"
    );
    assert!(
        summary.unpromised_losses.values().sum::<usize>() > 50,
        "{summary}"
    );
}

#[test]
fn a_store_that_does_not_sync_is_caught_by_the_loss_of_power() {
    let summary = played(Subject::Off, 30);
    assert!(summary.violated_by(Violation::Corrupt) > 10, "{summary}");
    assert_eq!(
        summary
            .violations
            .keys()
            .filter(|(damage, _)| *damage == Damage::Kill)
            .count(),
        0,
        "{summary}"
    );
}

#[test]
fn a_store_that_commits_rows_before_operations_is_caught_at_every_kind_of_crash() {
    let summary = played(Subject::SplitStatements, 30);
    for damage in Damage::ALL {
        assert!(
            summary.violations.contains_key(&(damage, Violation::Half)),
            "{damage:?}: {summary}"
        );
    }
}

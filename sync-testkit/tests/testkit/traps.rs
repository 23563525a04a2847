//! Each trap holds for us and bites its double.

use std::collections::BTreeSet;

use sync_testkit::{
    simulator::MISTAKES,
    traps::{self, ELSEWHERE, Trap},
};

#[tokio::test]
async fn every_trap_holds_for_our_engine() {
    let mut fallen = Vec::new();
    for trap in traps::all() {
        if let Err(failure) = trap.holds().await {
            fallen.push(format!("{}: {failure}", trap.name));
        }
    }
    assert!(fallen.is_empty(), "{}", fallen.join("\n"));
}

#[tokio::test]
async fn every_trap_bites_its_double() {
    let mut toothless = Vec::new();
    for trap in traps::all() {
        if let Err(failure) = trap.bites().await {
            toothless.push(format!("{}: {failure}", trap.name));
        }
    }
    assert!(toothless.is_empty(), "{}", toothless.join("\n"));
}

#[test]
fn every_mistake_is_caught_by_a_trap() {
    let doubles: Vec<String> = traps::all().map(Trap::double).collect();
    for (name, mistake) in MISTAKES {
        let shown = format!("{mistake:?}");
        let variant = shown.split(['(', ')']).nth(1).unwrap();
        let quoted = format!("`{variant}`");
        assert!(
            doubles.iter().any(|double| double.contains(&quoted)),
            "{name}: {quoted}"
        );
    }
}

/// The names of the known traps that a text of sources speaks of.
fn named(text: &str) -> Vec<String> {
    if let Some(rest) = text.strip_prefix("peers ") {
        return vec![format!("peers {}", rest.split(':').next().unwrap_or(rest))];
    }
    text.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_known_trap_is_tested_or_has_its_reason() {
    let tested = traps::all().flat_map(|trap| trap.sources.iter().copied());
    let reasoned = ELSEWHERE.iter().map(|other| other.source);
    let known: BTreeSet<String> = tested.chain(reasoned).flat_map(named).collect();
    let series = |prefix: &str, numbers: std::ops::RangeInclusive<u32>| {
        numbers
            .map(|number| format!("{prefix}{number:02}"))
            .collect::<Vec<_>>()
    };
    let mut wanted: Vec<String> = (1..=38).map(|number| format!("peers {number}")).collect();
    wanted.extend(series("RCS-", 1..=44));
    wanted.extend(series("DDS-", 1..=16));
    wanted.extend(series("PS-", 1..=24));
    wanted.extend((1..=4).map(|number| format!("PS-G1-{number}")));
    wanted.extend(series("SN-", 1..=17));
    wanted.extend(series("SC-", 1..=9));
    wanted.extend(series("SQ-", 1..=5));
    let missing: Vec<_> = wanted.iter().filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "neither tested nor reasoned: {missing:?}");
}

#[test]
fn names_are_given_once_and_every_trap_says_what_was_lost_where() {
    let mut names = BTreeSet::new();
    for trap in traps::all() {
        assert!(names.insert(trap.name), "{} twice", trap.name);
        assert!(
            trap.lost.ends_with('.') && !trap.sources.is_empty(),
            "{}",
            trap.name
        );
        assert_eq!(traps::trap(trap.name).map(Trap::double), Some(trap.double()));
    }
}

/// `UPDATE_BOOK=1 cargo test -p sync-testkit traps` writes the tables of the book anew.
#[test]
fn the_book_lists_every_trap() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/proof/traps.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- traps -->\n", "<!-- end of traps -->\n");
    let (before, rest) = text.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let mut table =
        String::from("| trap | what was lost | where | body | caught double |\n|---|---|---|---|---|\n");
    for trap in traps::all() {
        let body = trap
            .trace()
            .map_or("code".to_owned(), |id| format!("trace `{id}`"));
        let sources = trap.sources.join("; ");
        table += &format!(
            "| `{}` | {} | {sources} | {body} | {} |\n",
            trap.name,
            trap.lost,
            trap.double()
        );
    }
    table += "\n| source | why it is no test here |\n|---|---|\n";
    for other in ELSEWHERE {
        table += &format!("| {} | {} |\n", other.source, other.reason);
    }
    if std::env::var_os("UPDATE_BOOK").is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(found, table, "run it with UPDATE_BOOK=1");
    }
}

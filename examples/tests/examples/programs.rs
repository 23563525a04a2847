//! The small programs.

use crate::{printed, run};

#[test]
fn the_quickstart_pushes_what_it_wrote() {
    let text = printed(&run(env!("CARGO_BIN_EXE_quickstart"), &[]), 0);
    assert_eq!(
        text,
        "offline: 2 todos, 2 not sent yet\n\
         synchronized: 2 pushed, 0 pulled\n\
         still to do: Buy milk\n\
         complete: true, stale: false\n"
    );
}

#[test]
fn the_custom_remote_passes_the_conformance_suite_and_connects_two_devices() {
    let text = printed(&run(env!("CARGO_BIN_EXE_custom_remote"), &[]), 0);
    let certificate = text.lines().next().unwrap();
    assert!(
        certificate.contains("json-file") && certificate.contains(" 0 failed"),
        "{certificate}"
    );
    assert!(
        text.contains("ok     | of two that create a record at once one applies"),
        "{text}"
    );
    assert!(text.contains("the laptop reads: written on the phone"), "{text}");
}

#[test]
fn the_custom_remote_takes_fewer_than_120_lines_of_code() {
    let program = include_str!("../../src/bin/custom_remote.rs");
    let (_, remote) = program.split_once("/// The backend").unwrap();
    let (remote, _) = remote.split_once("/// Tells the conformance suite").unwrap();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines = remote.lines().skip(1).filter(is_code).count();
    assert!((50..120).contains(&lines), "{lines}");
}

#[test]
fn conflicts_end_as_each_resolver_decides() {
    let text = printed(&run(env!("CARGO_BIN_EXE_conflicts"), &[]), 0);
    for (resolver, end) in [
        ("LastWriteWins", "3 x green tea"),
        ("FieldMerge", "5 x green tea"),
        ("A resolver of your own", "7 x green tea"),
        ("Manual", "5 x tea"),
    ] {
        let (_, told) = text.split_once(&format!("\n{resolver}")).unwrap();
        let told = told.split("\n\n").next().unwrap();
        for device in ["A", "B"] {
            assert!(
                told.contains(&format!("{device} ends with {end}")),
                "{resolver}: {told}"
            );
        }
    }
    assert!(text.contains("meanwhile B works on with 3 x green tea"), "{text}");
    assert!(text.contains("open conflicts left on B: 0"), "{text}");
}

#[test]
fn a_live_query_shows_each_change_and_the_program_ends() {
    let text = printed(&run(env!("CARGO_BIN_EXE_watch"), &[]), 0);
    let shown: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once("B shows "))
        .map(|(_, list)| list)
        .collect();
    assert_eq!(
        shown,
        [
            "[]",
            "[boil water]",
            "[boil water, warm the pot]",
            "[boil water, warm the pot, pour]",
            "[warm the pot, pour]",
            "[pour]",
            "[]",
        ]
    );
}

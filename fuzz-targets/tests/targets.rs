//! Every target on its seeds, and on a fixed set of changes of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

use fuzz_targets::{FuzzTarget, targets};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

/// Bytes that mean something to one of the readers.
const TELLING: &[u8] = b"\0\n\r \"%&'+,-./0129:;=?AEZ[\\]_aetz{}\x7f\x80\xbb\xbf\xef\xff";

/// Inputs that differ from the seeds in a few places.
fn changed(target: &FuzzTarget, random: &mut SmallRng) -> Vec<u8> {
    let pick = |random: &mut SmallRng| target.seeds.choose(random).unwrap().as_bytes().to_vec();
    let mut data = pick(random);
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=data.len());
        match random.random_range(0..5) {
            0 => data.truncate(at),
            1 => data.insert(at, *TELLING.choose(random).unwrap()),
            2 if at < data.len() => data[at] = *TELLING.choose(random).unwrap(),
            3 if at < data.len() => {
                data.remove(at);
            }
            _ => {
                let other = pick(random);
                let from = random.random_range(0..=other.len());
                data.splice(at..at, other[from..].iter().copied());
            }
        }
    }
    data
}

#[test]
fn every_target_holds_for_its_seeds_and_what_is_near_them() {
    for target in targets() {
        for seed in target.seeds {
            (target.run)(seed.as_bytes());
        }
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..1_000 {
            (target.run)(&changed(target, &mut random));
        }
    }
}

/// The seeds are read as what they stand for: a change of a format must not leave them behind.
#[test]
fn the_first_seed_of_each_target_is_understood() {
    use sync_core::{ExportedOp, Payload, ScopeKey, query::QuerySpec};
    let first = |name: &str| fuzz_targets::target(name).unwrap().seeds[0];
    ScopeKey::parse(first("scope_key")).unwrap();
    Payload::parse(first("payload")).unwrap();
    serde_json::from_str::<ExportedOp>(first("import")).unwrap();
    serde_json::from_str::<QuerySpec>(first("query")).unwrap();
    for wire in [
        "supabase_feed",
        "supabase_table",
        "pocketbase_feed",
        "pocketbase_plain",
        "appwrite",
    ] {
        for body in first(wire).lines().filter(|line| !line.starts_with('@')) {
            serde_json::from_str::<serde_json::Value>(body)
                .unwrap_or_else(|error| panic!("{wire}: {error}: {body}"));
        }
    }
    assert!(sync_http::parse_http_date(first("http_dates")).is_some());
    assert_eq!(
        sync_testkit::traces::parse_traces("seed", first("traces"))
            .unwrap()
            .len(),
        1
    );
}

/// A program for each target, and no other.
#[test]
fn each_target_has_its_program() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/fuzz_targets");
    let mut programs: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    programs.sort();
    let mut names: Vec<&str> = targets().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(programs, names);
}

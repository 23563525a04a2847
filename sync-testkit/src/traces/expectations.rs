//! What must hold at the end of a trace.

use std::collections::BTreeMap;

use serde_json::Value;
use sync_core::{OpKind, Result};

use super::{
    check::{Counts, brief, counts, remote_rows, seen, word_name},
    device::target,
    server::AppliedOp,
    vocabulary::{CountWord, Expectation, Expected, Fields, OpPattern, ServerOps},
    world::World,
};

/// What must hold at the end.
pub(super) async fn check(world: &World, all: &[Expectation]) -> Result<()> {
    const END: &str = "expect";
    for expectation in all {
        match expectation {
            Expectation::Client(name, rows) => {
                if let Some(device) = world.devices.get(name)
                    && let Some((expected, got)) = seen(world, device).await?.difference(world, rows)
                {
                    world.fail(END, format!("{name}: {expected}"), got);
                }
            }
            Expectation::Remote(rows) => {
                if let Some((expected, got)) = remote_rows(world)?.difference(world, rows) {
                    world.fail(END, format!("remote: {expected}"), got);
                }
            }
            Expectation::Count(CountWord::Rows, wanted) => row_counts(world, wanted).await?,
            Expectation::Count(word, wanted) => client_counts(world, *word, wanted).await?,
            Expectation::ServerApplied(wanted) => {
                applied(world, wanted, "server_applied", |got, want| got == want)
            }
            Expectation::ServerAppliedMax(wanted) => {
                applied(world, wanted, "server_applied_max", |got, want| got <= want);
            }
            Expectation::ServerOps(wanted) => server_ops(world, wanted),
            Expectation::MaxPushBatch(most) => {
                let got = world.server.largest_batch();
                if got > *most {
                    world.fail(END, format!("max_push_batch {most}"), got.to_string());
                }
            }
            Expectation::Converged(wanted) => converged(world, *wanted).await?,
        }
    }
    Ok(())
}

async fn client_counts(world: &World, word: CountWord, wanted: &Expected) -> Result<()> {
    let mut each = BTreeMap::new();
    for (name, device) in &world.devices {
        each.insert(name.as_str(), counts(device).await?);
    }
    let sum = || each.values().fold(Counts::default(), |sum, one| sum.and(*one));
    let checks: Vec<(&str, u64, Counts)> = match wanted {
        Expected::All(number) => vec![("all clients", *number, sum())],
        Expected::Each(numbers) => numbers
            .iter()
            .map(|(name, number)| {
                (
                    name.as_str(),
                    *number,
                    each.get(name.as_str()).copied().unwrap_or_default(),
                )
            })
            .collect(),
    };
    for (who, number, counts) in checks {
        if !counts.fits(word, number) {
            world.fail(
                "expect",
                format!("{} of {who} {number}", word_name(word)),
                counts.describe(word),
            );
        }
    }
    Ok(())
}

async fn row_counts(world: &World, wanted: &Expected) -> Result<()> {
    let mut each = BTreeMap::from([("remote".to_owned(), remote_rows(world)?.rows.len() as u64)]);
    for (name, device) in &world.devices {
        each.insert(name.clone(), seen(world, device).await?.rows.len() as u64);
    }
    for (name, got) in &each {
        let number = match wanted {
            Expected::All(number) => Some(number),
            Expected::Each(numbers) => numbers.get(name),
        };
        if let Some(number) = number.filter(|number| *number != got) {
            world.fail("expect", format!("count of {name} {number}"), got.to_string());
        }
    }
    Ok(())
}

fn applied(world: &World, wanted: &Expected, word: &str, fits: fn(u64, u64) -> bool) {
    let counts = world.server.applied_counts();
    let checks: Vec<(String, u64, u64)> = match wanted {
        Expected::All(number) => vec![("all operations".to_owned(), *number, counts.values().sum())],
        Expected::Each(numbers) => numbers
            .iter()
            .map(|(name, number)| {
                let (_, id) = world.address(name);
                (
                    format!("record {name}"),
                    *number,
                    counts.get(&id).copied().unwrap_or(0),
                )
            })
            .collect(),
    };
    for (what, number, got) in checks {
        if !fits(got, number) {
            world.fail("expect", format!("{word} of {what} {number}"), got.to_string());
        }
    }
}

fn server_ops(world: &World, wanted: &ServerOps) {
    let applied = world.server.applied();
    let printed = |kind: OpKind, id: &str| format!("{}:{id}", kind.as_str());
    let got: Vec<String> = applied
        .iter()
        .map(|op| printed(op.kind, op.id.as_str()))
        .collect();
    match wanted {
        ServerOps::Number(number) => {
            if got.len() as u64 != *number {
                world.fail("expect", format!("server_ops {number}"), format!("{got:?}"));
            }
        }
        ServerOps::List(patterns) => {
            let fits = |pattern: &OpPattern, op: &AppliedOp| {
                pattern.id == op.id.as_str() && pattern.kind.is_none_or(|kind| kind == op.kind.as_str())
            };
            let all_fit = patterns.len() == applied.len()
                && patterns
                    .iter()
                    .zip(&applied)
                    .all(|(pattern, op)| fits(pattern, op));
            if !all_fit {
                let wanted: Vec<String> = patterns
                    .iter()
                    .map(|pattern| match pattern.kind {
                        Some(kind) => format!("{kind}:{}", pattern.id),
                        None => pattern.id.clone(),
                    })
                    .collect();
                world.fail("expect", format!("server_ops {wanted:?}"), format!("{got:?}"));
            }
        }
        ServerOps::PerRecord(records) => {
            for (id, kinds) in records {
                let own = applied.iter().filter(|op| op.id.as_str() == id);
                let got: Vec<&str> = own.map(|op| op.kind.as_str()).collect();
                if got != *kinds {
                    world.fail(
                        "expect",
                        format!("server_ops of {id} {kinds:?}"),
                        format!("{got:?}"),
                    );
                }
            }
        }
    }
}

async fn converged(world: &World, wanted: bool) -> Result<()> {
    let mut difference = None;
    for (name, device) in &world.devices {
        let here = seen(world, device).await?.rows;
        for scope in device.scopes().into_keys() {
            let there = world.server.rows(&target(&scope)?)?;
            let own: BTreeMap<String, Fields> = here
                .iter()
                .filter(|((of, _), _)| of == scope.name())
                .map(|((_, id), row)| (id.clone(), row.clone()))
                .collect();
            if own != there {
                let place = own
                    .keys()
                    .chain(there.keys())
                    .find(|id| own.get(*id) != there.get(*id))
                    .cloned()
                    .unwrap_or_default();
                let show = |row: Option<&Fields>| {
                    row.map_or_else(|| "nothing".to_owned(), |row| brief(&Value::Object(row.clone())))
                };
                difference = Some(format!(
                    "{name} has {place:?} = {}, the remote {}",
                    show(own.get(&place)),
                    show(there.get(&place))
                ));
            }
        }
        let pending = counts(device).await?.active;
        if pending > 0 {
            difference = Some(format!("{name} has {pending} pending operations"));
        }
    }
    match (wanted, difference) {
        (true, Some(difference)) => world.fail("expect", "converged", difference),
        (false, None) => world.fail("expect", "not converged", "all the same"),
        _ => {}
    }
    Ok(())
}

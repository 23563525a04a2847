//! Whether clients and the remote are as they must be.

use std::collections::BTreeMap;

use serde_json::Value;
use sync_core::{
    CachePolicy, ConflictQuery, Incomplete, OpQuery, OpState, OpStateKind, ParkReason, RawAnswer,
    ReadOptions, Result, SyncScope, query::QuerySpec,
};

use super::{
    device::{Device, target},
    patterns::mismatch,
    vocabulary::{Assertions, CountWord, DEFAULT_SCOPE, Fields, Rows},
    world::World,
};
use crate::naive::client::NaiveClient;

/// Scope and id.
type Address = (String, String);

/// Records that are seen somewhere.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) rows: BTreeMap<Address, Fields>,
    /// Records with an operation that waits for the user, as they are without it, where either is right: refused ones
    /// if there is no `on_reject`, and those of a scope that was revoked.
    otherwise: BTreeMap<Address, Option<Fields>>,
}

impl Seen {
    /// What differs from the rows that must be there: expected and got.
    pub(super) fn difference(&self, world: &World, wanted: &Rows) -> Option<(String, String)> {
        let patterns = match wanted {
            Rows::Number(number) => {
                let count = self.rows.len() as u64;
                return (count != *number).then(|| (format!("{number} rows"), format!("{count}")));
            }
            Rows::Patterns(patterns) => patterns,
        };
        let patterns: BTreeMap<Address, &Value> = patterns
            .iter()
            .map(|(name, pattern)| (world.address(name), pattern))
            .collect();
        for (address, pattern) in &patterns {
            let Some(problem) = mismatch(pattern, self.rows.get(address)) else {
                continue;
            };
            let otherwise = self.otherwise.get(address);
            if otherwise.is_some_and(|row| mismatch(pattern, row.as_ref()).is_none()) {
                continue;
            }
            return Some((
                format!("row {}: {}", name(address), brief(pattern)),
                format!("it {problem}"),
            ));
        }
        let extra = self.rows.keys().find(|address| {
            let may_be_gone = self.otherwise.get(*address).is_some_and(Option::is_none);
            !patterns.contains_key(*address) && !may_be_gone
        });
        extra.map(|address| {
            let found = self.rows.get(address).cloned().unwrap_or_default();
            (
                "no other rows".to_owned(),
                format!("row {}: {}", name(address), brief(&Value::Object(found))),
            )
        })
    }
}

fn name((scope, id): &Address) -> String {
    if scope == DEFAULT_SCOPE {
        id.clone()
    } else {
        format!("@{scope}/{id}")
    }
}

pub(super) fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The records that the app sees on a device.
pub(super) async fn seen(world: &World, device: &Device) -> Result<Seen> {
    if let Some(naive) = device.naive() {
        return Ok(naive_seen(naive));
    }
    let engine = device.engine()?;
    let offline = ReadOptions::from(CachePolicy::OfflineOnly);
    let mut seen = Seen::default();
    for scope in device.scopes().into_keys() {
        let answer = engine
            .query(&target(&scope)?, &QuerySpec::new(), &offline)
            .await?;
        seen.rows.extend(rows_of(&scope, &answer)?);
    }
    let query = OpQuery {
        states: vec![OpStateKind::Parked],
        ..OpQuery::default()
    };
    for op in engine.pending_ops(&query).await? {
        let either = match &op.state {
            OpState::Parked(ParkReason::Rejected { .. }) => world.config.on_reject.is_none(),
            OpState::Parked(ParkReason::ScopeRevoked) => true,
            _ => false,
        };
        if either {
            let base = engine.explain(&op.key).await?.record.base;
            let row = base.payload().map(sync_core::Payload::to_object).transpose()?;
            let address = (op.key.scope().name().to_owned(), op.key.id.to_string());
            seen.otherwise.insert(address, row);
        }
    }
    Ok(seen)
}

fn rows_of(scope: &SyncScope, answer: &RawAnswer) -> Result<BTreeMap<Address, Fields>> {
    let row = |record: &sync_core::LocalRecord| {
        let address = (scope.name().to_owned(), record.id.to_string());
        Ok((address, record.payload.to_object()?))
    };
    answer.records.iter().map(row).collect()
}

pub(super) fn remote_rows(world: &World) -> Result<Seen> {
    let mut seen = Seen::default();
    for scope in world.server.scopes() {
        let rows = world.server.rows(&target(&scope)?)?;
        let addressed = rows
            .into_iter()
            .map(|(id, row)| ((scope.name().to_owned(), id), row));
        seen.rows.extend(addressed);
    }
    Ok(seen)
}

/// The answer to a read.
pub(super) fn answer(
    world: &World,
    path: &str,
    scope: &SyncScope,
    answer: RawAnswer,
    wanted: Option<&Rows>,
) -> Result<()> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let seen = Seen {
        rows: rows_of(scope, &answer)?,
        ..Seen::default()
    };
    // A read is of one scope; its rows may be named without it.
    let unscoped = Seen {
        rows: seen
            .rows
            .iter()
            .map(|((_, id), row)| ((DEFAULT_SCOPE.to_owned(), id.clone()), row.clone()))
            .collect(),
        ..Seen::default()
    };
    if let Some((expected, got)) = seen.difference(world, wanted)
        && unscoped.difference(world, wanted).is_some()
    {
        world.fail(path, expected, got);
    }
    Ok(())
}

fn naive_seen(naive: &NaiveClient) -> Seen {
    let addressed = naive.rows().into_iter().map(|(key, row)| {
        let address = (key.scope().name().to_owned(), key.id.to_string());
        (address, row)
    });
    Seen {
        rows: addressed.collect(),
        ..Seen::default()
    }
}

/// The answer of a naive client to a read.
pub(super) fn naive_rows(world: &World, naive: &NaiveClient, path: &str, wanted: &Rows) {
    if let Some((expected, got)) = naive_seen(naive).difference(world, wanted) {
        world.fail(path, expected, got);
    }
}

/// What an `assert` step of the remote looks at.
pub(super) fn remote_assertions(world: &World, path: &str, wanted: &Assertions) -> Result<()> {
    let seen = remote_rows(world)?;
    let count = wanted.count.map(Rows::Number);
    for rows in wanted.rows.iter().chain(&count) {
        if let Some((expected, got)) = seen.difference(world, rows) {
            world.fail(path, format!("at the remote {expected}"), got);
        }
    }
    Ok(())
}

/// What an `assert` step of a client looks at.
pub(super) async fn assertions(
    world: &World,
    device: &Device,
    path: &str,
    scope: &SyncScope,
    wanted: &Assertions,
) -> Result<()> {
    if wanted.rows.is_some() || wanted.count.is_some() {
        let seen = seen(world, device).await?;
        let count = wanted.count.map(Rows::Number);
        for rows in wanted.rows.iter().chain(&count) {
            if let Some((expected, got)) = seen.difference(world, rows) {
                world.fail(path, expected, got);
            }
        }
    }
    let counts = counts(device).await?;
    for (word, wanted) in [
        (CountWord::Pending, wanted.pending),
        (CountWord::Conflicts, wanted.conflicts),
        (CountWord::Dead, wanted.dead),
        (CountWord::Pushes, wanted.pushes),
    ] {
        if let Some(wanted) = wanted.filter(|wanted| !counts.fits(word, *wanted)) {
            world.fail(
                path,
                format!("{} {wanted}", word_name(word)),
                counts.describe(word),
            );
        }
    }
    let transport = device.script.counts();
    for (what, wanted, got) in [
        ("requests", wanted.requests, transport.requests),
        ("last_pull_rows", wanted.last_pull_rows, transport.last_pull_rows),
    ] {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != got) {
            world.fail(path, format!("{what} {wanted}"), got.to_string());
        }
    }
    if let Some(wanted) = wanted.synced_once {
        let got = synced_once(device, scope).await?;
        if got != wanted {
            world.fail(path, format!("synced_once {wanted}"), got.to_string());
        }
    }
    Ok(())
}

async fn synced_once(device: &Device, scope: &SyncScope) -> Result<bool> {
    if let Some(naive) = device.naive() {
        return Ok(naive.synced_once(scope));
    }
    let offline = ReadOptions::from(CachePolicy::OfflineOnly);
    let spec = QuerySpec::new().limit(0);
    let answer = device.engine()?.query(&target(scope)?, &spec, &offline).await?;
    Ok(answer.state.incomplete != Some(Incomplete::NeverPulled))
}

/// What can be counted on a device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Operations that are sent without the user.
    pub(super) active: u64,
    /// Operations that wait for the user to decide a conflict.
    deferred: u64,
    dead: u64,
    open_conflicts: u64,
    settled_conflicts: u64,
    /// Settled conflicts of a client with what it had written itself.
    false_conflicts: u64,
    pushes: u64,
}

impl Counts {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            active: self.active + other.active,
            deferred: self.deferred + other.deferred,
            dead: self.dead + other.dead,
            open_conflicts: self.open_conflicts + other.open_conflicts,
            settled_conflicts: self.settled_conflicts + other.settled_conflicts,
            false_conflicts: self.false_conflicts + other.false_conflicts,
            pushes: self.pushes + other.pushes,
        }
    }

    pub(super) fn fits(&self, word: CountWord, wanted: u64) -> bool {
        match word {
            // What waits in an open conflict may be counted as pending or not.
            CountWord::Pending => wanted == self.active || wanted == self.active + self.deferred,
            CountWord::Dead => wanted == self.dead,
            CountWord::Pushes => wanted == self.pushes,
            // None: none is open, and none was seen where there was none. Some: open ones, or all there were.
            CountWord::Conflicts if wanted == 0 => self.open_conflicts + self.false_conflicts == 0,
            CountWord::Conflicts => {
                wanted == self.open_conflicts || wanted == self.open_conflicts + self.settled_conflicts
            }
            CountWord::Rows => true,
        }
    }

    pub(super) fn describe(&self, word: CountWord) -> String {
        match word {
            CountWord::Pending if self.deferred > 0 => {
                format!("{}, and {} in open conflicts", self.active, self.deferred)
            }
            CountWord::Pending => self.active.to_string(),
            CountWord::Dead => self.dead.to_string(),
            CountWord::Pushes => self.pushes.to_string(),
            CountWord::Conflicts => format!(
                "{} open, {} settled, {} of these with itself",
                self.open_conflicts, self.settled_conflicts, self.false_conflicts
            ),
            CountWord::Rows => String::new(),
        }
    }
}

pub(super) fn word_name(word: CountWord) -> &'static str {
    match word {
        CountWord::Pending => "pending",
        CountWord::Conflicts => "conflicts",
        CountWord::Dead => "dead",
        CountWord::Pushes => "pushes",
        CountWord::Rows => "count",
    }
}

pub(super) async fn counts(device: &Device) -> Result<Counts> {
    if let Some(naive) = device.naive() {
        return Ok(Counts {
            active: naive.pending(),
            dead: naive.dead(),
            // It keeps no history, so every conflict counts as one with itself unless some are expected.
            false_conflicts: naive.conflicts(),
            settled_conflicts: naive.conflicts(),
            pushes: device.script.counts().pushes,
            ..Counts::default()
        });
    }
    let engine = device.engine()?;
    let ops = engine.count_ops(None).await?;
    let conflicts = engine.conflicts(&ConflictQuery::default()).await?;
    let (open, settled): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(|conflict| conflict.is_open());
    let own = |stamp: sync_core::Stamp| stamp.node() == device.node() || device.script.has_node(stamp.node());
    let with_itself = settled
        .iter()
        .filter(|conflict| conflict.remote.stamp().is_some_and(own));
    Ok(Counts {
        active: ops.of(OpStateKind::Queued) + ops.of(OpStateKind::InDoubt),
        deferred: ops.of(OpStateKind::Deferred),
        dead: ops.of(OpStateKind::Parked) + ops.of(OpStateKind::Blocked) + device.given_up(),
        open_conflicts: open.len() as u64,
        settled_conflicts: settled.len() as u64,
        false_conflicts: with_itself.count() as u64,
        pushes: device.script.counts().pushes,
    })
}

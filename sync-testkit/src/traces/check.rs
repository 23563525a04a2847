//! Whether clients and the remote are as they must be.

use std::collections::BTreeMap;

use serde_json::Value;
use sync_core::{
    CachePolicy, ConflictQuery, Incomplete, OpKind, OpQuery, OpState, OpStateKind, ParkReason, RawAnswer,
    ReadOptions, Result, SyncScope, query::QuerySpec,
};

use super::{
    device::{Device, target},
    patterns::mismatch,
    vocabulary::{
        Assertions, CountWord, DEFAULT_SCOPE, Expectation, Expected, Fields, OpPattern, Rows, ServerOps,
    },
    world::World,
};

/// Scope and id.
type Address = (String, String);

/// Records that are seen somewhere.
#[derive(Debug, Default)]
struct Seen {
    rows: BTreeMap<Address, Fields>,
    /// Records with a refused operation, as they are without it: without `on_reject`, either is right.
    otherwise: BTreeMap<Address, Option<Fields>>,
}

impl Seen {
    /// What differs from the rows that must be there: expected and got.
    fn difference(&self, world: &World, wanted: &Rows) -> Option<(String, String)> {
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

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The records that the app sees on a device.
async fn seen(world: &World, device: &Device) -> Result<Seen> {
    let engine = device.engine()?;
    let offline = ReadOptions::from(CachePolicy::OfflineOnly);
    let mut seen = Seen::default();
    for scope in device.scopes().into_keys() {
        let answer = engine
            .query(&target(&scope)?, &QuerySpec::new(), &offline)
            .await?;
        seen.rows.extend(rows_of(&scope, &answer)?);
    }
    if world.config.on_reject.is_some() {
        return Ok(seen);
    }
    let query = OpQuery {
        states: vec![OpStateKind::Parked],
        ..OpQuery::default()
    };
    for op in engine.pending_ops(&query).await? {
        if matches!(op.state, OpState::Parked(ParkReason::Rejected { .. })) {
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

fn remote_rows(world: &World) -> Result<Seen> {
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
        let offline = ReadOptions::from(CachePolicy::OfflineOnly);
        let spec = QuerySpec::new().limit(0);
        let state = device
            .engine()?
            .query(&target(scope)?, &spec, &offline)
            .await?
            .state;
        let got = state.incomplete != Some(Incomplete::NeverPulled);
        if got != wanted {
            world.fail(path, format!("synced_once {wanted}"), got.to_string());
        }
    }
    Ok(())
}

/// What can be counted on a device.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Operations that are sent without the user.
    active: u64,
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
    fn and(self, other: Self) -> Self {
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

    fn fits(&self, word: CountWord, wanted: u64) -> bool {
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

    fn describe(&self, word: CountWord) -> String {
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

fn word_name(word: CountWord) -> &'static str {
    match word {
        CountWord::Pending => "pending",
        CountWord::Conflicts => "conflicts",
        CountWord::Dead => "dead",
        CountWord::Pushes => "pushes",
        CountWord::Rows => "count",
    }
}

async fn counts(device: &Device) -> Result<Counts> {
    let engine = device.engine()?;
    let ops = engine.count_ops(None).await?;
    let conflicts = engine.conflicts(&ConflictQuery::default()).await?;
    let (open, settled): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(|conflict| conflict.is_open());
    let own = |stamp: sync_core::Stamp| stamp.node() == device.node();
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

/// What must hold at the end.
pub(super) async fn expectations(world: &World, all: &[Expectation]) -> Result<()> {
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
            let fits = |pattern: &OpPattern, op: &super::server::AppliedOp| {
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

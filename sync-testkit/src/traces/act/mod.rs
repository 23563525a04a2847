//! What clients, the third party and time do in a step.

mod naive;
mod syncing;
mod upkeep;
mod writes;

use sync_core::{
    CachePolicy, ErrorKind, ReadOptions, Result, SyncError, SyncReport, SyncScope, Write, query::QuerySpec,
};

use super::{
    check,
    device::{Device, key, target},
    vocabulary::{Action, At, DEFAULT_SCOPE, ReadPolicy, Step},
    world::World,
};
use naive::naive_action;
pub(super) use syncing::after_step;
use syncing::{Way, in_parallel, settle, synchronize};
use upkeep::{leave, purge, reset, reset_cursor, wipe_cache};
use writes::{create, discard, resolve, update, write};

/// A step that succeeded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    /// Operations that are to be tried again, or were refused.
    pub(super) left_over: u64,
    /// Whether anything was pushed or pulled.
    moved: bool,
}

impl Done {
    fn of(report: &SyncReport) -> Self {
        Self {
            left_over: report.retried + report.parked,
            moved: report.pushed + report.pulled + report.swept + report.retried > 0,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            left_over: self.left_over + other.left_over,
            moved: self.moved || other.moved,
        }
    }
}

fn scope_of(step: &Step) -> Result<SyncScope> {
    SyncScope::new(step.scope.as_deref().unwrap_or(DEFAULT_SCOPE))
}

/// What a client does. `is_nested` says that the client is in the middle of a synchronization of its own.
pub(super) async fn client_action(
    world: &World,
    device: &Device,
    step: &Step,
    path: &str,
    is_nested: bool,
) -> Result<Done> {
    let scope = scope_of(step)?;
    if let Some(naive) = device.naive() {
        return naive_action(world, device, naive, step, path).await;
    }
    match &step.action {
        Action::Create(id, fields) => create(device, step, &scope, id, fields).await,
        Action::Update(id, fields) => update(device, step, &scope, id, fields).await,
        Action::Delete(id) => write(device, step, Write::delete_raw(key(&scope, id)?)).await,
        Action::BulkCreate(rows) => {
            for (id, fields) in rows {
                create(device, step, &scope, id, fields).await?;
            }
            Ok(Done::default())
        }
        Action::BulkUpdate(rows) => {
            for (id, fields) in rows {
                update(device, step, &scope, id, fields).await?;
            }
            Ok(Done::default())
        }
        Action::Sync => synchronize(device, step, Way::Both, is_nested).await,
        Action::Push => synchronize(device, step, Way::Push, is_nested).await,
        Action::Pull => synchronize(device, step, Way::Pull, is_nested).await,
        Action::FullResync => synchronize(device, step, Way::Full, is_nested).await,
        Action::SyncParallel(number) => in_parallel(device, step, *number).await,
        Action::Restart => {
            device.close().await?;
            device.open().await.map(|()| Done::default())
        }
        Action::Compact => device
            .engine()?
            .enforce_cache_limits()
            .await
            .map(|_| Done::default()),
        Action::Reset => reset(device).await,
        Action::WipeCache => wipe_cache(device, step.scope.is_some().then_some(scope)).await,
        Action::ResetCursor => reset_cursor(device, step.scope.is_some().then_some(scope)).await,
        Action::Purge(id) => purge(device, &scope, id).await,
        Action::Discard(id) => discard(device, step, id.as_deref()).await,
        Action::Subscribe => {
            device.keep_scope(&scope);
            Ok(Done::default())
        }
        Action::DropScope => leave(device, &scope).await,
        Action::ClockOffset(units) => {
            device.clock.set_offset(world.time.unit_micros(*units));
            Ok(Done::default())
        }
        Action::Redeliver(request) => {
            let number = request + usize::from(world.counts_requests_from_zero);
            world
                .server
                .redeliver(&device.name, number)
                .await
                .map(|()| Done::default())
        }
        Action::Resolve(id, choice, fields) => resolve(device, step, &scope, id, *choice, fields).await,
        Action::Read(policy, rows, requests) => {
            device.touch_scope(&scope);
            let before = device.script.counts().requests;
            let options = ReadOptions::from(policy_of(*policy));
            let answer = device
                .engine()?
                .query(&target(&scope)?, &QuerySpec::new(), &options)
                .await?;
            let made = device.script.counts().requests - before;
            check::answer(world, path, &scope, answer, rows.as_ref())?;
            if let Some(requests) = requests.filter(|requests| *requests != made) {
                // Those of the refresh behind the answer may be counted or not.
                device.drain().await;
                let all = device.script.counts().requests - before;
                if requests != all {
                    world.fail(path, format!("{requests} requests"), made.to_string());
                }
            }
            Ok(Done::default())
        }
        Action::Assert(assertions) => {
            check::assertions(world, device, path, &scope, assertions).await?;
            Ok(Done::default())
        }
        _ => world_action(world, step, path).await.map(|()| Done::default()),
    }
}

fn policy_of(policy: ReadPolicy) -> CachePolicy {
    match policy {
        ReadPolicy::OfflineOnly => CachePolicy::OfflineOnly,
        ReadPolicy::LocalFirst => CachePolicy::LocalFirst,
        ReadPolicy::RemoteFirst => CachePolicy::RemoteFirst,
        ReadPolicy::OnlineOnly => CachePolicy::OnlineOnly,
    }
}

/// What does not need a client.
pub(super) async fn world_action(world: &World, step: &Step, path: &str) -> Result<()> {
    let (server, scope) = (&world.server, scope_of(step)?);
    let at = |at: At| world.time.moment(at);
    match &step.action {
        Action::Put(id, fields) => server.put(&key(&scope, id)?, fields, at(step.at)),
        Action::BulkPut(rows) => {
            let at = at(step.at);
            for (id, fields) in rows {
                server.put(&key(&scope, id)?, fields, at)?;
            }
            Ok(())
        }
        Action::Remove(id) => server.remove(&key(&scope, id)?, at(step.at)).await,
        Action::Vanish(id) => {
            server.vanish(&key(&scope, id)?);
            Ok(())
        }
        Action::Move(id, to) => {
            server.move_to(&key(&scope, id)?, &SyncScope::new(to.clone())?);
            Ok(())
        }
        Action::Prune(keep) => {
            server.prune(*keep);
            Ok(())
        }
        Action::Snapshot(name) => {
            server.snapshot(name);
            Ok(())
        }
        Action::Restore(name) => server.restore(name),
        Action::SetAccess(grants) => {
            server.set_access(grants);
            Ok(())
        }
        Action::Settle => settle(world, step).await,
        Action::Tick(seconds) => {
            world.time.tick(*seconds);
            Ok(())
        }
        Action::Assert(assertions) => check::remote_assertions(world, path, assertions),
        other => Err(SyncError::new(
            ErrorKind::Unsupported,
            format!("only a client can do this: {other:?}"),
        )),
    }
}

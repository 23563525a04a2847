//! The same steps, done by a naive client.

use sync_core::{ErrorKind, OpKind, Result, SyncError, SyncScope};

use super::{Done, scope_of, world_action};
use crate::{
    naive::client::NaiveClient,
    traces::{
        check,
        device::{Device, Keeping, key},
        vocabulary::{Action, Fields, ReadPolicy, Step},
        world::World,
    },
};

/// What a naive client does in a step.
pub(super) async fn naive_action(
    world: &World,
    device: &Device,
    naive: &NaiveClient,
    step: &Step,
    path: &str,
) -> Result<Done> {
    let scope = scope_of(step)?;
    let one = |id: &str, kind, fields: Option<&Fields>| {
        let (key, fields) = (key(&scope, id), fields.cloned());
        async move {
            device.touch_scope(key.as_ref().map_err(Clone::clone)?.scope());
            device.begin_write(step);
            let write = naive.compose(key?, kind, fields.as_ref());
            let written = match write {
                Ok(write) => naive.write(&[write], false).await,
                Err(error) => Err(error),
            };
            device.end_write();
            written
        }
    };
    match &step.action {
        Action::Create(id, fields) => one(id, OpKind::Create, Some(fields)).await?,
        Action::Update(id, fields) => one(id, OpKind::Update, Some(fields)).await?,
        Action::Delete(id) => one(id, OpKind::Delete, None).await?,
        Action::BulkCreate(rows) => {
            for (id, fields) in rows {
                one(id, OpKind::Create, Some(fields)).await?;
            }
        }
        Action::BulkUpdate(rows) => {
            for (id, fields) in rows {
                device.begin_write(step);
                let write = naive.compose(key(&scope, id)?, OpKind::Update, Some(fields))?;
                naive.write(&[write], true).await?;
                device.end_write();
            }
        }
        Action::Sync | Action::Push | Action::Pull | Action::FullResync | Action::SyncParallel(_) => {
            if step.scope.is_some() {
                device.touch_scope(&scope);
            }
            let scopes = match &step.scope {
                Some(_) => [scope].into(),
                None => device.scopes().into_keys().collect::<Vec<_>>(),
            };
            return each_scope(device, naive, &scopes, &step.action).await;
        }
        Action::Restart | Action::Compact => naive.restart(),
        Action::Reset => device.scopes().keys().for_each(|scope| naive.wipe(scope, true)),
        Action::WipeCache => device.scopes().keys().for_each(|scope| naive.wipe(scope, false)),
        Action::ResetCursor => device.scopes().keys().for_each(|scope| naive.reset_cursor(scope)),
        Action::Purge(id) => naive.purge(&key(&scope, id)?),
        Action::Discard(id) => {
            naive.discard(|key| id.as_ref().is_none_or(|id| key.id.as_str() == id));
        }
        Action::Subscribe => device.keep_scope(&scope),
        Action::DropScope => {
            device.leave_scope(&scope);
            naive.wipe(&scope, false);
        }
        Action::ClockOffset(units) => device.clock.set_offset(world.time.unit_micros(*units)),
        Action::Redeliver(request) => {
            let number = request + usize::from(world.counts_requests_from_zero);
            world.server.redeliver(&device.name, number).await?;
        }
        Action::Read(policy, rows, requests) => {
            let before = device.script.counts().requests;
            read(naive, &scope, *policy).await?;
            let made = device.script.counts().requests - before;
            if let Some(requests) = requests.filter(|requests| *requests != made) {
                world.fail(path, format!("{requests} requests"), made.to_string());
            }
            if let Some(rows) = rows {
                check::naive_rows(world, naive, path, rows);
            }
        }
        Action::Assert(assertions) => check::assertions(world, device, path, &scope, assertions).await?,
        Action::Resolve(..) => {
            return Err(SyncError::new(ErrorKind::Unsupported, "it keeps no conflicts"));
        }
        _ => world_action(world, step, path).await?,
    }
    Ok(Done::default())
}

async fn each_scope(
    device: &Device,
    naive: &NaiveClient,
    scopes: &[SyncScope],
    action: &Action,
) -> Result<Done> {
    let mut all = Ok(());
    for scope in scopes {
        let leaving = device.scopes().get(scope) == Some(&Keeping::Leaving);
        let result = match action {
            Action::Push => naive.push(scope).await,
            _ if leaving => naive.push(scope).await,
            Action::Pull => naive.pull(scope, false).await,
            Action::FullResync => naive.full_resync(scope).await,
            Action::SyncParallel(number) => {
                let calls = (0..*number).map(|_| naive.synchronize(scope));
                futures::future::join_all(calls).await.into_iter().collect()
            }
            _ => naive.synchronize(scope).await,
        };
        if leaving && result.is_ok() {
            naive.wipe(scope, false);
            device.forget_scope(scope);
        }
        all = all.and(result);
    }
    all.map(|()| Done {
        left_over: naive.pending() + naive.dead(),
        moved: false,
    })
}

async fn read(naive: &NaiveClient, scope: &SyncScope, policy: ReadPolicy) -> Result<()> {
    if policy == ReadPolicy::OfflineOnly || naive.ignores_policies() {
        return Ok(());
    }
    let refreshed = naive.synchronize(scope).await;
    match policy {
        ReadPolicy::OnlineOnly => refreshed,
        ReadPolicy::RemoteFirst if !naive.falls_back() => refreshed,
        _ => Ok(()),
    }
}

/// Every scope of a device, whatever comes of it.
pub(super) async fn naive_everything(device: &Device) {
    if let Some(naive) = device.naive() {
        let scopes: Vec<SyncScope> = device.scopes().into_keys().collect();
        // What failed is seen in what the client is left with.
        let _ = each_scope(device, naive, &scopes, &Action::Sync).await;
    }
}

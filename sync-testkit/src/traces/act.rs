//! What clients, the third party and time do in a step.

use futures::{FutureExt, future::join_all};
use sync_core::{
    CachePolicy, ChangeSet, Clock, ConflictQuery, ErrorKind, Incomplete, OpQuery, OpState, OpStateKind,
    ParkReason, Payload, ReadOptions, RecordKey, Result, SyncEngine, SyncError, SyncReport, SyncScope,
    TargetState, Write,
    query::QuerySpec,
    resolve::{Conflict, FieldPolicy, Resolution},
};

use super::{
    check,
    device::{BETWEEN_STEPS, Device, Keeping, key, target},
    resolvers::merged,
    vocabulary::{Action, At, Choice, DEFAULT_SCOPE, Fields, OnReject, ReadPolicy, Step},
    world::World,
};

/// A fleet that has not come to rest after so many rounds never does.
const MAX_ROUNDS: usize = 25;

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

/// Which halves of a synchronization.
#[derive(Clone, Copy, Debug)]
enum Way {
    Both,
    Push,
    Pull,
    Full,
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
                world.fail(path, format!("{requests} requests"), made.to_string());
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

// --- writes ---

async fn create(device: &Device, step: &Step, scope: &SyncScope, id: &str, fields: &Fields) -> Result<Done> {
    let key = key(scope, id)?;
    let new = || Write::create_raw(key.clone(), Payload::from_object(fields));
    match write(device, step, new()).await {
        Err(error) if error.kind() == ErrorKind::Invalid => {
            // A refused record that the app still shows: without `on_reject`, to make it anew is right as well.
            if device
                .engine()?
                .explain(&key)
                .await?
                .record
                .ops
                .iter()
                .any(|op| is_refused(&op.state))
            {
                discard_key(&device.engine()?, &key).await?;
                return write(device, step, new()).await;
            }
            Err(error)
        }
        other => other,
    }
}

async fn update(device: &Device, step: &Step, scope: &SyncScope, id: &str, fields: &Fields) -> Result<Done> {
    let key = key(scope, id)?;
    let offline = ReadOptions::from(CachePolicy::OfflineOnly);
    let there = device.engine()?.get(&key, &offline).await?;
    let mut record = match there.records.first() {
        Some(record) => record.payload.to_object()?,
        None => Fields::new(),
    };
    record.extend(fields.iter().map(|(field, value)| (field.clone(), value.clone())));
    write(
        device,
        step,
        Write::update_raw(key, Payload::from_object(&record)),
    )
    .await
}

async fn write(device: &Device, step: &Step, write: Write) -> Result<Done> {
    let engine = device.engine()?;
    let scope = write.key().scope().clone();
    device.touch_scope(&scope);
    device.clock.hold(step.at);
    let written = engine.write(write).await;
    device.clock.release();
    let written = written?;
    let Some(op_id) = written.op_id.filter(|_| step.require_remote) else {
        return Ok(Done::default());
    };
    // The app wants an answer now, or the write not at all.
    let answer = engine.push_only(&scope).await;
    let query = OpQuery {
        op_ids: Some(vec![op_id]),
        ..OpQuery::default()
    };
    let unsent = engine.pending_ops(&query).await?;
    if unsent.is_empty() {
        return Ok(Done::default());
    }
    engine.discard_op(op_id).await?;
    Err(answer
        .err()
        .unwrap_or_else(|| SyncError::new(ErrorKind::Unreachable, "the remote did not take the write")))
}

fn is_refused(state: &OpState) -> bool {
    matches!(state, OpState::Parked(ParkReason::Rejected { .. }))
}

async fn discard_key(engine: &SyncEngine, key: &RecordKey) -> Result<u64> {
    match engine.explain(key).await?.record.ops.first() {
        Some(op) => Ok(engine.discard_op(op.op_id).await?.len() as u64),
        None => Ok(0),
    }
}

async fn discard(device: &Device, step: &Step, id: Option<&str>) -> Result<Done> {
    let engine = device.engine()?;
    let scope = step.scope.is_some().then(|| scope_of(step)).transpose()?;
    let query = OpQuery {
        scope: if id.is_some() {
            Some(scope_of(step)?)
        } else {
            scope
        },
        ..OpQuery::default()
    };
    let mut keys: Vec<RecordKey> = engine
        .pending_ops(&query)
        .await?
        .into_iter()
        .map(|op| op.key)
        .collect();
    keys.retain(|key| id.is_none_or(|id| key.id.as_str() == id));
    keys.dedup();
    for key in keys {
        discard_key(&engine, &key).await?;
    }
    Ok(Done::default())
}

async fn resolve(
    device: &Device,
    step: &Step,
    scope: &SyncScope,
    id: &str,
    choice: Choice,
    fields: &Fields,
) -> Result<Done> {
    let engine = device.engine()?;
    let query = ConflictQuery {
        key: Some(key(scope, id)?),
        open: Some(true),
        ..ConflictQuery::default()
    };
    let open = engine.conflicts(&query).await?.into_iter().next();
    let open =
        open.ok_or_else(|| SyncError::new(ErrorKind::NotFound, format!("{id:?} has no open conflict")))?;
    let resolution = match choice {
        Choice::Local => Resolution::KeepLocal,
        Choice::Remote => Resolution::TakeRemote,
        Choice::Merged => {
            let conflict = Conflict {
                key: open.key.clone(),
                base: open.base.clone(),
                local: open.local.clone(),
                remote: open.remote.payload().cloned(),
                changed: sync_core::ChangedFields::All,
                local_stamp: open.local_stamp,
                local_time: open.local_stamp.time(),
                remote_stamp: open.remote.stamp(),
                remote_time: None,
            };
            let mut record = merged(&conflict, FieldPolicy::PreferLocal)?;
            record.extend(fields.iter().map(|(field, value)| (field.clone(), value.clone())));
            Resolution::Merged(Payload::from_object(&record))
        }
    };
    device.clock.hold(step.at);
    let settled = engine.resolve_conflict(open.conflict_id, resolution).await;
    device.clock.release();
    settled.map(|_| Done::default())
}

// --- synchronizing ---

async fn synchronize(device: &Device, step: &Step, way: Way, is_nested: bool) -> Result<Done> {
    let mut scopes = device.scopes();
    if step.scope.is_some() {
        let scope = scope_of(step)?;
        device.touch_scope(&scope);
        let keeping = scopes.get(&scope).copied().unwrap_or(Keeping::Yes);
        scopes = [(scope, keeping)].into();
    }
    let engine = device.engine()?;
    let mut all = Ok(Done::default());
    for (scope, keeping) in scopes {
        let way = if keeping == Keeping::Leaving {
            Way::Push
        } else {
            way
        };
        if is_nested {
            // It begins after the synchronization that is under way, and nobody here can wait for that.
            let _ = one_way(&engine, &scope, way).now_or_never();
            continue;
        }
        let one = one_way(&engine, &scope, way)
            .await
            .map(|report| Done::of(&report));
        if keeping == Keeping::Leaving && one.is_ok() {
            forget_if_sent(device, &scope).await?;
        }
        all = match (all, one) {
            (Ok(all), Ok(one)) => Ok(all.and(one)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
    }
    all
}

async fn one_way(engine: &SyncEngine, scope: &SyncScope, way: Way) -> Result<std::sync::Arc<SyncReport>> {
    match way {
        Way::Both => engine.synchronize(scope).await,
        Way::Push => engine.push_only(scope).await,
        Way::Pull => engine.pull_only(scope).await,
        Way::Full => engine.full_resync(scope).await,
    }
}

async fn in_parallel(device: &Device, step: &Step, number: usize) -> Result<Done> {
    let scopes: Vec<SyncScope> = match &step.scope {
        Some(_) => vec![scope_of(step)?],
        None => device.scopes().into_keys().collect(),
    };
    let first = device.engine()?;
    let second = device.second_engine().await?;
    let mut all = Ok(Done::default());
    for scope in scopes {
        let calls = (0..number).map(|place| {
            let engine = if place % 2 == 0 { &first } else { &second.engine };
            engine.synchronize(&scope)
        });
        for answer in join_all(calls).await {
            if let (Ok(_), Err(error)) = (&all, answer) {
                all = Err(error);
            }
        }
    }
    second.ended().await;
    all
}

/// Everyone synchronizes until nobody has anything left to do.
async fn settle(world: &World, step: &Step) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        let mut moved = false;
        for device in world.devices.values() {
            let pushes = device.script.counts().pushes;
            let everything = Step {
                scope: None,
                ..step.clone()
            };
            // Errors of single clients (a scope that stays revoked) are seen in what they are left with.
            if let Ok(done) = synchronize(device, &everything, Way::Both, false).await {
                moved |= done.moved;
            }
            moved |= device.script.counts().pushes > pushes;
            after_step(world, device).await?;
            world.time.advance(BETWEEN_STEPS);
        }
        if !moved {
            return Ok(());
        }
    }
    Err(SyncError::new(
        ErrorKind::Internal,
        format!("the clients have not come to rest after {MAX_ROUNDS} rounds"),
    ))
}

/// What the app does after a step: it gives up what was refused, if the trace says so.
pub(super) async fn after_step(world: &World, device: &Device) -> Result<()> {
    if world.config.on_reject != Some(OnReject::Rollback) {
        return Ok(());
    }
    let engine = device.engine()?;
    let query = OpQuery {
        states: vec![OpStateKind::Parked],
        ..OpQuery::default()
    };
    for op in engine.pending_ops(&query).await? {
        if is_refused(&op.state) {
            device.note_given_up(discard_key(&engine, &op.key).await?);
        }
    }
    Ok(())
}

// --- the local store ---

async fn reset(device: &Device) -> Result<Done> {
    let engine = device.engine()?;
    for scope in device.scopes().into_keys() {
        engine.clear(&scope, true).await?;
    }
    Ok(Done::default())
}

async fn wipe_cache(device: &Device, only: Option<SyncScope>) -> Result<Done> {
    let engine = device.engine()?;
    let scopes = only.map_or_else(|| device.scopes().into_keys().collect(), |scope| vec![scope]);
    for scope in scopes {
        if engine.count_ops(Some(&scope)).await?.total() == 0 {
            engine.clear(&scope, false).await?;
            continue;
        }
        // Records with pending operations stay; everything else is given up.
        let before = engine.cache_limits().await?;
        let limits = before
            .clone()
            .with_scope_max_age(&scope, std::time::Duration::ZERO);
        engine.set_cache_limits(&limits).await?;
        engine.set_cache_limits(&before).await?;
        reset_cursor(device, Some(scope)).await?;
    }
    Ok(Done::default())
}

async fn reset_cursor(device: &Device, only: Option<SyncScope>) -> Result<Done> {
    let scopes = only.map_or_else(|| device.scopes().into_keys().collect(), |scope| vec![scope]);
    for scope in scopes {
        let store = device.running()?.store;
        let state = store.load_target(&target(&scope)?).await?;
        let changes = ChangeSet {
            targets: vec![TargetState {
                sync_point: None,
                ..state
            }],
            ..ChangeSet::at(device.clock.now())
        };
        store.commit(changes).await?;
    }
    Ok(Done::default())
}

/// Evicts one record, as the engine does; one with pending operations stays.
async fn purge(device: &Device, scope: &SyncScope, id: &str) -> Result<Done> {
    let store = device.running()?.store;
    let state = store.load_target(&target(scope)?).await?;
    let changes = ChangeSet {
        removals: vec![key(scope, id)?],
        targets: vec![TargetState {
            sync_point: None,
            incomplete: Some(Incomplete::Evicted),
            pulled_at: None,
            ..state
        }],
        ..ChangeSet::at(device.clock.now())
    };
    store.commit(changes).await.map(|_| Done::default())
}

async fn leave(device: &Device, scope: &SyncScope) -> Result<Done> {
    device.leave_scope(scope);
    forget_if_sent(device, scope).await.map(|left_over| Done {
        left_over,
        moved: false,
    })
}

/// Forgets a scope that is being left, unless operations are still pending. Returns how many are.
async fn forget_if_sent(device: &Device, scope: &SyncScope) -> Result<u64> {
    let engine = device.engine()?;
    match engine.clear(scope, false).await {
        Ok(_) => {
            device.forget_scope(scope);
            Ok(0)
        }
        Err(error) if error.kind() == ErrorKind::PendingOps => {
            Ok(engine.count_ops(Some(scope)).await?.total())
        }
        Err(error) => Err(error),
    }
}

// --- the third party, and time ---

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
        Action::Prune => {
            server.prune();
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

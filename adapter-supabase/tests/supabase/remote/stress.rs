//! Case 43: eight devices and direct writers at once, with long transactions, rollbacks, moves and deletes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqlx::AssertSqlSafe;
use sync_core::{OpState, ParkReason};

use super::world::{Device, World, id, scope};

on_each_stack!(case_43_eight_devices_and_direct_writers_end_equal);

const DEVICES: u64 = 8;
const DIRECT_WRITERS: u64 = 3;
const RECORDS: u64 = 60;
/// How often each device writes and synchronizes.
const ROUNDS: u64 = 15;
/// How many transactions each direct writer begins.
const TRANSACTIONS: u64 = 40;

async fn case_43_eight_devices_and_direct_writers_end_equal(world: &World) {
    world.make(1..=RECORDS / 2).await;
    let mut devices = Vec::new();
    for number in 0..DEVICES {
        let team = if number % 4 == 3 { "t" } else { "s" };
        devices.push(Arc::new(world.device(&world.ada, team).await));
    }
    let mut work = tokio::task::JoinSet::new();
    for (number, device) in (0..).zip(&devices) {
        work.spawn(use_device(Arc::clone(device), number));
    }
    for number in 0..DIRECT_WRITERS {
        work.spawn(write_directly(world.stack.pool().clone(), 100 + number));
    }
    let mut done = 0;
    while let Some(count) = work.join_next().await {
        done += count.unwrap();
    }
    for device in &devices {
        settle(device).await;
    }
    for device in &devices {
        device.sync().await;
    }
    let rows = rows(world).await;
    for (number, device) in devices.iter().enumerate() {
        let key = device.scope().key().to_string();
        let expected = rows.get(&key).cloned().unwrap_or_default();
        assert_eq!(
            device.titles().await,
            expected,
            "device {number} of {key} after {done} writes"
        );
    }
    assert!(
        done >= DEVICES * ROUNDS + DIRECT_WRITERS * TRANSACTIONS / 2,
        "{done} writes"
    );
}

/// Synchronizes until nothing is pending. A write to a record that moved to the other scope meanwhile would make it
/// again, and is refused since its id is taken: it is parked, and given up here as a user may.
async fn settle(device: &Device) {
    for _ in 0..200 {
        let synchronized = device.engine.synchronize(device.scope()).await;
        let ops = device.ops().await;
        if synchronized.is_ok() && ops.is_empty() {
            return;
        }
        for op in ops {
            match &op.state {
                OpState::Parked(ParkReason::Rejected { code, .. }) if code == "23505" => {
                    device.engine.discard_op(op.op_id).await.unwrap();
                }
                OpState::Parked(reason) => panic!("{reason:?}"),
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("still pending: {:?}", device.ops().await);
}

/// What is there, by scope: ids and titles.
async fn rows(world: &World) -> BTreeMap<String, Vec<(String, String)>> {
    let all: Vec<(String, String, String)> =
        sqlx::query_as("select scope, id::text, title from public.todo order by id::text collate \"C\"")
            .fetch_all(world.stack.pool())
            .await
            .unwrap();
    let mut by_scope: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (scope, id, title) in all {
        by_scope.entry(scope).or_default().push((id, title));
    }
    by_scope
}

/// Writes on a device and synchronizes it now and then, over failures that pass. Gives the number of writes.
async fn use_device(device: Arc<Device>, seed: u64) -> u64 {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut writes = 0;
    for _ in 0..ROUNDS {
        for _ in 0..random.random_range(1..4) {
            let number = random.random_range(1..=RECORDS);
            let title = format!("device {seed}, write {writes}");
            match random.random_range(0..10) {
                0 => device.delete(number).await,
                1..=2 if device.view(number).await.is_null() => {
                    // Numbers of its own, so that it makes what nobody else does.
                    let own = 1_000 + seed * 1_000 + writes;
                    device.create(own, &title).await;
                }
                _ => {
                    device.retitle(number, &title).await;
                }
            }
            writes += 1;
        }
        // Deadlocks with direct writers happen, and pass.
        let _ = device.engine.synchronize(device.scope()).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
    }
    writes
}

/// Changes rows beside the adapter, some of them in transactions that take their time or are rolled back. Gives the
/// number of transactions.
async fn write_directly(pool: sqlx::PgPool, seed: u64) -> u64 {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut transactions = 0;
    let (s, t) = (scope("s").key().to_string(), scope("t").key().to_string());
    for _ in 0..TRANSACTIONS {
        let row = id(random.random_range(1..=RECORDS));
        let (from, to) = if random.random_bool(0.5) {
            (&s, &t)
        } else {
            (&t, &s)
        };
        let sql = match random.random_range(0..6) {
            0 => format!("delete from public.todo where id = '{row}'"),
            1 => format!("update public.todo set scope = '{to}' where id = '{row}' and scope = '{from}'"),
            2 => format!(
                "update public.todo set title = 'direct {seed}' where scope = '{from}' and id::text < '{row}'"
            ),
            _ => format!(
                "insert into public.todo (id, scope, title) values ('{row}', '{to}', 'made by {seed}')
                 on conflict (id) do update set title = excluded.title"
            ),
        };
        let mut transaction = pool.begin().await.unwrap();
        // One that loses a deadlock is rolled back.
        let written = sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await;
        if random.random_bool(0.2) {
            tokio::time::sleep(Duration::from_millis(random.random_range(50..300))).await;
        }
        if written.is_err() || random.random_bool(0.2) {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            transactions += 1;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..30))).await;
    }
    transactions
}

//! Foreign writers who write at once, while somebody reads.

use std::collections::BTreeSet;

use pocketbase_server::Admin;
use serde_json::{Value, json};

use crate::feed_fixture::{create_in_batch, delete_in_batch, send_batch};

/// What is written, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One writer, one record after another.
    OneSingleWriter,
    /// Eight writers, each one record after another.
    EightSingleWriters,
    /// Six of these beside four who write batches.
    SinglesAndBatches,
    /// The same, and deletes of what was made before, single and in batches.
    WithDeletes,
}

/// What is there when all have written.
#[derive(Debug, Default)]
pub(crate) struct WrittenRecords {
    pub(crate) live: BTreeSet<String>,
}

/// What a record of the load looks like, besides its id.
pub(crate) fn content(owner: &str) -> Value {
    json!({"title": "written by another", "count": 1, "done": true, "owner": owner})
}

/// An id at random, as PocketBase makes them: in no order within a millisecond.
pub(crate) fn random_id() -> String {
    let alphabet: Vec<char> = ('a'..='z').chain('0'..='9').collect();
    (0..15).map(|_| alphabet[rand_below(36)]).collect()
}

fn rand_below(limit: usize) -> usize {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8) as usize % limit
}

async fn single(admin: &Admin, owner: &str) -> String {
    let id = random_id();
    let mut record = content(owner);
    record["id"] = id.clone().into();
    admin.create("todos", &record).await.unwrap();
    id
}

async fn batch(admin: &Admin, owner: &str, size: usize) -> Vec<String> {
    let ids: Vec<String> = (0..size).map(|_| random_id()).collect();
    let requests = ids.iter().map(|id| {
        let mut record = content(owner);
        record["id"] = id.clone().into();
        create_in_batch("todos", record)
    });
    send_batch(admin, requests.collect()).await.success().unwrap();
    ids
}

/// One writer's part of the load; gives the ids that are there afterwards.
async fn write(admin: &Admin, load: Load, writer: usize, owner: &str) -> Vec<String> {
    let (singles, batches) = match load {
        Load::OneSingleWriter => (1_500, 0),
        Load::EightSingleWriters => (300, 0),
        _ if writer < 6 => (150, 0),
        _ => (0, 3),
    };
    let mut ids = Vec::new();
    for number in 0..singles {
        ids.push(single(admin, owner).await);
        if load == Load::WithDeletes && number % 5 == 4 {
            let path = format!("/api/collections/todos/records/{}", ids.swap_remove(number / 10));
            admin
                .send("DELETE", &path, None)
                .await
                .unwrap()
                .success()
                .unwrap();
        }
    }
    for _ in 0..batches {
        ids.extend(batch(admin, owner, 500).await);
        if load == Load::WithDeletes {
            let gone = ids.split_off(ids.len() - 50);
            let requests = gone.iter().map(|id| delete_in_batch("todos", id));
            send_batch(admin, requests.collect()).await.success().unwrap();
        }
    }
    ids
}

/// Lets a load run, with `read` called over and over until everybody has written.
pub(crate) async fn race(admin: &Admin, load: Load, read: impl AsyncFnMut()) -> WrittenRecords {
    race_of(admin, load, "ada", read).await
}

/// As [`race`], with records of this owner.
pub(crate) async fn race_of(
    admin: &Admin,
    load: Load,
    owner: &str,
    mut read: impl AsyncFnMut(),
) -> WrittenRecords {
    let writers = match load {
        Load::OneSingleWriter => 1,
        Load::EightSingleWriters => 8,
        Load::SinglesAndBatches | Load::WithDeletes => 10,
    };
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (admin, owner) = (admin.clone(), owner.to_owned());
        tasks.spawn(async move { write(&admin, load, writer, &owner).await });
    }
    let mut written = WrittenRecords::default();
    let mut finished = 0;
    while finished < writers {
        while let Some(ids) = tasks.try_join_next() {
            written.live.extend(ids.unwrap());
            finished += 1;
        }
        // A read is never cut short: that would be a fault of another kind.
        read().await;
    }
    written
}

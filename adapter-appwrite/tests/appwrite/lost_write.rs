//! The lost-write experiment (cases 11 and 12 of the notes): a write is stamped, another one is stamped later and
//! commits first, a reader takes the later stamp as its cursor, and then the first write commits.

use std::{collections::BTreeMap, time::Duration};

use appwrite_stand_in::{RequestMatch, StandIn};
use serde_json::{Value, json};

use crate::world::{DATABASE, Device, World, todo};

/// What a plain replication by `$updatedAt` does: everything after the newest stamp seen, and no overlap. It reads
/// the server's truth, so that nothing but the cursor can be at fault.
#[derive(Default)]
struct NaiveReader {
    cursor: String,
    titles: BTreeMap<String, Value>,
}

impl NaiveReader {
    fn pull(&mut self, server: &StandIn) {
        for row in server.rows(DATABASE, "todos") {
            let stamp = row["$updatedAt"].as_str().unwrap();
            if *stamp > *self.cursor {
                self.titles
                    .insert(row["$id"].as_str().unwrap().to_owned(), row["title"].clone());
            }
        }
        let newest = self
            .titles
            .keys()
            .filter_map(|id| server.row(DATABASE, "todos", id));
        let newest = newest
            .map(|row| row["$updatedAt"].as_str().unwrap().to_owned())
            .max();
        self.cursor = newest.unwrap_or_default();
    }
}

struct Outcome {
    world: World,
    naive: NaiveReader,
    reader: Device,
}

/// The write to `slow` is held for `held_for` after it was stamped; meanwhile `fast` is written and both readers
/// pull, twice.
async fn experiment(held_for: Duration) -> Outcome {
    let world = World::start().await;
    let (writer, reader) = (world.device("alice").await, world.device("bob").await);
    let mut naive = NaiveReader::default();
    for id in ["slow", "fast"] {
        writer.create(&todo(id, "before")).await;
    }
    writer.sync().await;
    reader.scan().await;
    naive.pull(&world.server);

    let mut held = world
        .server
        .hold_write(RequestMatch::method("PATCH").path("/rows/slow"));
    writer.update(&todo("slow", "after")).await;
    let scope = World::scope();
    let writing = writer.engine.push_only(&scope);
    let others = async {
        held.arrived().await;
        world.server.advance_clock(Duration::from_secs(1));
        world.put("fast", json!({"title": "after"}));
        reader.sync().await;
        naive.pull(&world.server);
        assert_eq!(naive.titles["fast"], json!("after"));
        world.server.advance_clock(held_for);
        world.put("fast", json!({"title": "after all"}));
        reader.sync().await;
        naive.pull(&world.server);
        held.release();
    };
    let (pushed, ()) = futures::join!(writing, others);
    assert_eq!(pushed.unwrap().pushed, 1);
    assert_eq!(world.cell("slow", "title"), json!("after"), "the write is there");
    naive.pull(&world.server);
    Outcome { world, naive, reader }
}

#[tokio::test]
async fn a_write_that_commits_late_is_lost_to_a_naive_reader_and_received_by_the_overlap() {
    let Outcome { world, naive, reader } = experiment(Duration::from_secs(20)).await;
    assert_eq!(
        naive.titles["slow"],
        json!("before"),
        "without an overlap it is lost for good"
    );
    reader.sync().await;
    assert_eq!(reader.title("slow").await.as_deref(), Some("after"));
    assert_eq!(
        reader.title("fast").await.as_deref(),
        world.cell("fast", "title").as_str()
    );
}

#[tokio::test]
async fn a_write_that_commits_later_than_the_overlap_is_healed_by_the_scan() {
    let Outcome { world, naive, reader } = experiment(Duration::from_secs(90)).await;
    assert_eq!(naive.titles["slow"], json!("before"));
    reader.sync().await;
    assert_eq!(
        reader.title("slow").await.as_deref(),
        Some("before"),
        "this is beyond the stated bound of pulls"
    );
    reader.scan().await;
    assert_eq!(reader.title("slow").await.as_deref(), Some("after"));
    assert_eq!(
        reader.title("fast").await.as_deref(),
        world.cell("fast", "title").as_str()
    );
}

#[tokio::test]
async fn servers_whose_clocks_differ_lose_nothing_within_the_overlap() {
    let world = World::start().await;
    world.server.set_server_skews(&[0, -20_000, 15_000]);
    let (writer, reader) = (world.device("alice").await, world.device("bob").await);
    for round in 0..10 {
        writer.create(&todo(&format!("t{round}"), "tea")).await;
        writer.sync().await;
        reader.sync().await;
    }
    world.server.advance_clock(Duration::from_secs(20));
    reader.sync().await;
    assert_eq!(reader.all().await.len(), 10);
}

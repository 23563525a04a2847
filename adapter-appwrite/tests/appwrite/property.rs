//! Case 40 of the notes: random work of three clients under faults. All of them agree in the end, and no write
//! that was accepted from a user is lost.

use std::{collections::BTreeMap, sync::Arc};

use adapter_appwrite::AppwriteRemoteStore;
use adapter_memory::MemoryLocalStore;
use appwrite_stand_in::{Fault, RequestMatch};
use proptest::prelude::*;
use serde_json::json;
use sync_core::resolve::{DeleteRule, FieldMerge, FieldPolicy};
use sync_testkit::effects::TestEffects;

use crate::world::{DATABASE, Device, Todo, World};

const RECORDS: [&str; 4] = ["t0", "t1", "t2", "t3"];

#[derive(Clone, Debug)]
enum Act {
    /// A device writes its own column of a record.
    Write {
        device: usize,
        record: usize,
    },
    Sync {
        device: usize,
    },
    Scan {
        device: usize,
    },
    /// The next requests of this kind meet a fault.
    Fail {
        method: usize,
        skip: usize,
        times: usize,
        fault: usize,
    },
    Delete {
        device: usize,
        record: usize,
    },
    HardDelete {
        record: usize,
    },
}

const METHODS: [&str; 3] = ["GET", "POST", "PATCH"];

fn fault(number: usize) -> Fault {
    match number {
        0 => Fault::DropRequest,
        1 => Fault::DropAnswer,
        2 => Fault::CutBody,
        3 => Fault::Refuse {
            status: 503,
            kind: "general_server_error",
        },
        4 => Fault::FailAfter {
            status: 500,
            kind: "general_server_error",
        },
        _ => Fault::RateLimit { seconds: 5 },
    }
}

fn act(deletes: bool) -> impl Strategy<Value = Act> {
    let write = (0..3_usize, 0..4_usize).prop_map(|(device, record)| Act::Write { device, record });
    let sync = (0..3_usize).prop_map(|device| Act::Sync { device });
    let scan = (0..3_usize).prop_map(|device| Act::Scan { device });
    let fail =
        (0..3_usize, 0..3_usize, 1..3_usize, 0..6_usize).prop_map(|(method, skip, times, fault)| Act::Fail {
            method,
            skip,
            times,
            fault,
        });
    let delete = (0..3_usize, 0..4_usize).prop_map(|(device, record)| Act::Delete { device, record });
    let hard = (0..4_usize).prop_map(|record| Act::HardDelete { record });
    let weight = u32::from(deletes);
    prop_oneof![6 => write, 5 => sync, 1 => scan, 3 => fail, 2 * weight => delete, weight => hard]
}

struct Clients {
    world: World,
    devices: Vec<Device>,
    /// What each device wrote last to its own column of a record.
    written: BTreeMap<(usize, usize), String>,
    count: u32,
}

impl Clients {
    async fn start() -> Self {
        let world = World::start().await;
        for record in RECORDS {
            world.put(record, json!({"title": "start", "note": "start", "due": null}));
        }
        let mut devices = Vec::new();
        for (number, user) in ["alice", "bob", "alice"].into_iter().enumerate() {
            let effects = TestEffects::tokio(number as u64);
            let config = world.config(world.session(user), &effects).transactions_from(2);
            let remote = Arc::new(AppwriteRemoteStore::new(config).unwrap());
            // Only this device writes its column. After a lost answer it can meet its own earlier write there.
            let own = ["title", "note", "count"][number];
            let merge = FieldMerge::new()
                .with(own, FieldPolicy::PreferLocal)
                .deletes(DeleteRule::EditWins);
            let device = Device::reopen(effects, remote, Arc::new(MemoryLocalStore::new()), merge).await;
            device.sync().await;
            devices.push(device);
        }
        Self {
            world,
            devices,
            written: BTreeMap::new(),
            count: 0,
        }
    }

    async fn perform(&mut self, act: &Act) {
        match act {
            Act::Write { device, record } => self.write(*device, *record).await,
            // A failed sync is part of the game.
            Act::Sync { device } => drop(self.devices[*device].try_sync().await),
            Act::Scan { device } => drop(self.devices[*device].engine.sweep(&World::scope()).await),
            Act::Fail {
                method,
                skip,
                times,
                fault: number,
            } => {
                self.world.server.fault_times(
                    RequestMatch::method(METHODS[*method]),
                    *skip,
                    *times,
                    fault(*number),
                );
            }
            Act::Delete { device, record } => {
                if self.devices[*device].get(RECORDS[*record]).await.is_some() {
                    self.devices[*device].delete(RECORDS[*record]).await;
                }
            }
            Act::HardDelete { record } => {
                if self.world.row(RECORDS[*record]).is_some() {
                    self.world.erase(RECORDS[*record]);
                }
            }
        }
    }

    async fn write(&mut self, device: usize, record: usize) {
        let client = &self.devices[device];
        let Some(current) = client.get(RECORDS[record]).await else {
            return;
        };
        self.count += 1;
        let text = format!("{} by {device}", self.count);
        let changed = match device {
            0 => Todo {
                title: Some(text.clone()),
                ..current
            },
            1 => Todo {
                note: Some(text.clone()),
                ..current
            },
            _ => Todo {
                count: Some(i64::from(self.count)),
                ..current
            },
        };
        client.update(&changed).await;
        self.written.insert((device, record), text);
    }

    /// Ends the faults and lets everybody finish.
    async fn settle(&self) {
        self.world.server.clear_faults();
        for _ in 0..6 {
            for device in &self.devices {
                device.effects.clock.advance(std::time::Duration::from_secs(120));
                device.sync().await;
            }
        }
        for device in &self.devices {
            device.scan().await;
        }
        for device in &self.devices {
            assert!(device.pending().await.is_empty(), "{:?}", device.pending().await);
        }
    }

    async fn ensure_agreed(&self) {
        let live = |row: &&serde_json::Value| row["deleted"] != json!(true);
        let rows = self.world.server.rows(DATABASE, "todos");
        let mut truth: Vec<(String, String)> = rows
            .iter()
            .filter(live)
            .map(|row| {
                (
                    row["$id"].as_str().unwrap().to_owned(),
                    format!("{} {} {}", row["title"], row["note"], row["count"]),
                )
            })
            .collect();
        truth.sort();
        for device in &self.devices {
            let mut shown: Vec<(String, String)> = device
                .all()
                .await
                .into_iter()
                .map(|t| {
                    (
                        t.id,
                        format!("{} {} {}", json!(t.title), json!(t.note), json!(t.count)),
                    )
                })
                .collect();
            shown.sort();
            assert_eq!(shown, truth);
        }
    }

    fn ensure_nothing_lost(&self) {
        for ((device, record), text) in &self.written {
            let row = self.world.row(RECORDS[*record]).unwrap();
            let kept = match device {
                0 => row["title"] == json!(text),
                1 => row["note"] == json!(text),
                _ => Some(row["count"].to_string().as_str()) == text.split(' ').next(),
            };
            assert!(kept, "{text:?} is not in {row}");
        }
    }
}

fn run(acts: &[Act], with_deletes: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut clients = Clients::start().await;
        for act in acts {
            clients.perform(act).await;
        }
        clients.settle().await;
        clients.ensure_agreed().await;
        if !with_deletes {
            clients.ensure_nothing_lost();
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn three_clients_under_faults_agree_and_lose_no_write(acts in prop::collection::vec(act(false), 10..60)) {
        run(&acts, false);
    }

    #[test]
    fn three_clients_that_also_delete_agree(acts in prop::collection::vec(act(true), 10..60)) {
        run(&acts, true);
    }
}

//! Parents go before their children, and children wait for a parent that was refused.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use adapter_memory::{
    MemoryLocalStore, MemoryRemoteStore, Rejection,
    faults::{Call, Fault},
};
use serde::{Deserialize, Serialize};
use sync_core::{
    EngineOptions, OpKind, OpQuery, OpStateKind, PendingOp, PushOp, SimpleSyncOrchestrator, SyncEngine,
    SyncRecord, Write,
};
use sync_testkit::effects::TestEffects;

use super::world::scope;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "projects")]
struct Project {
    #[sync(id)]
    id: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "tasks")]
struct Task {
    #[sync(id)]
    id: String,
    #[sync(parent = "projects")]
    project: String,
    #[sync(parent = "tasks")]
    above: Option<String>,
}

fn task(id: &str, project: &str, above: Option<&str>) -> Task {
    Task {
        id: id.into(),
        project: project.into(),
        above: above.map(str::to_owned),
    }
}

fn project(id: &str, name: &str) -> Project {
    Project {
        id: id.into(),
        name: name.into(),
    }
}

struct Planner {
    remote: MemoryRemoteStore,
    time: TestEffects,
    engine: SyncEngine,
    projects: SimpleSyncOrchestrator<Project>,
    tasks: SimpleSyncOrchestrator<Task>,
}

/// A database with foreign keys, which also refuses projects without a name.
fn foreign_keys() -> impl Fn(&PushOp) -> Option<Rejection> + Send + Sync + 'static {
    // Collection, id, and the ids of the parents of every row.
    type Row = (String, String, Vec<String>);
    let rows: Arc<Mutex<BTreeSet<Row>>> = Arc::default();
    move |op| {
        let mut rows = rows.lock().unwrap();
        let collection = op.key.target.collection.to_string();
        let id = op.key.id.to_string();
        if op.kind == OpKind::Delete {
            if rows.iter().any(|(_, _, parents)| parents.contains(&id)) {
                return Some(Rejection::new("23503", "it still has children"));
            }
            rows.retain(|(of, own, _)| (of, own) != (&collection, &id));
            return None;
        }
        let payload = op.payload.as_ref()?;
        let parents = match payload.decode::<Task>() {
            Ok(task) => [Some(task.project), task.above].into_iter().flatten().collect(),
            Err(_) if payload.decode::<Project>().ok()?.name.is_empty() => {
                return Some(Rejection::new("23514", "a project has a name"));
            }
            Err(_) => Vec::new(),
        };
        if !parents
            .iter()
            .all(|parent| rows.iter().any(|(_, own, _)| own == parent))
        {
            return Some(Rejection::new("23503", "the parent is not there"));
        }
        rows.insert((collection, id, parents));
        None
    }
}

impl Planner {
    async fn new(push_batch: u32) -> Self {
        let time = TestEffects::tokio(3);
        let remote = MemoryRemoteStore::builder()
            .clock(Arc::new(time.clock.clone()))
            .build();
        remote.set_validator(foreign_keys());
        let store = Arc::new(MemoryLocalStore::new());
        let engine = SyncEngine::builder(store, Arc::new(remote.clone()))
            .register::<Task>()
            .register::<Project>()
            .options(EngineOptions::default().with_push_batch(push_batch))
            .effects(time.effects())
            .build()
            .await
            .unwrap();
        Self {
            remote,
            time,
            projects: engine.of().unwrap(),
            tasks: engine.of().unwrap(),
            engine,
        }
    }

    async fn project(&self, id: &str, name: &str) {
        self.projects
            .enqueue_create(&scope(), &project(id, name))
            .await
            .unwrap();
    }

    async fn task(&self, id: &str, project: &str, above: Option<&str>) {
        self.tasks
            .enqueue_create(&scope(), &task(id, project, above))
            .await
            .unwrap();
    }

    async fn sync(&self) -> Arc<sync_core::SyncReport> {
        self.engine.synchronize(&scope()).await.unwrap()
    }

    async fn ops(&self) -> Vec<(String, OpStateKind)> {
        let ops = self.engine.pending_ops(&OpQuery::default()).await.unwrap();
        let named = |op: PendingOp| (op.key.id.to_string(), op.state.kind());
        ops.into_iter().map(named).collect()
    }

    fn rows(&self) -> usize {
        self.remote.dump(&self.projects.target(&scope())).len()
            + self.remote.dump(&self.tasks.target(&scope())).len()
    }
}

const BATCHES: [u32; 4] = [1, 2, 3, 100];

// Trap 22: azure-mobile-services#871: the order of the writes, or of the collections, broke foreign keys.
#[tokio::test]
async fn a_child_written_before_its_parent_goes_after_it() {
    for batch in BATCHES {
        let planner = Planner::new(batch).await;
        planner.task("t1", "p1", None).await;
        planner.task("t2", "p2", None).await;
        planner.project("p2", "garden").await;
        planner.project("p1", "house").await;
        let report = planner.sync().await;
        assert_eq!((report.pushed, report.parked), (4, 0), "batches of {batch}");
        assert_eq!(planner.rows(), 4);
    }
}

// Seed 22778 of the simulator: the first batch went after the second for a parent that was long there.
#[tokio::test]
async fn a_write_batch_waits_for_another_only_if_that_creates_a_parent() {
    for batch in BATCHES {
        let planner = Planner::new(batch).await;
        planner.project("p1", "house").await;
        planner.sync().await;
        let first = vec![
            Write::create(&scope(), &project("p2", "garden")).unwrap(),
            Write::create(&scope(), &task("t1", "p1", None)).unwrap(),
        ];
        let second = vec![
            Write::update(&scope(), &project("p1", "mansion")).unwrap(),
            Write::create(&scope(), &task("t2", "p2", None)).unwrap(),
        ];
        planner.engine.write_batch(first).await.unwrap();
        planner.engine.write_batch(second).await.unwrap();
        let report = planner.sync().await;
        assert_eq!((report.pushed, report.parked), (4, 0), "batches of {batch}");
    }
}

// Seeds 110565 and another of the simulator: neither batch can go before the other.
#[tokio::test]
async fn write_batches_that_need_each_other_s_parents_go_together() {
    for batch in BATCHES {
        let planner = Planner::new(batch).await;
        let first = vec![
            Write::create(&scope(), &project("p1", "house")).unwrap(),
            Write::create(&scope(), &task("t1", "p2", None)).unwrap(),
        ];
        let second = vec![
            Write::create(&scope(), &project("p2", "garden")).unwrap(),
            Write::create(&scope(), &task("t2", "p1", None)).unwrap(),
        ];
        planner.engine.write_batch(first).await.unwrap();
        planner.engine.write_batch(second).await.unwrap();
        let report = planner.sync().await;
        assert_eq!((report.pushed, report.parked), (4, 0), "batches of {batch}");
    }
}

// Trap 22: records of one collection that refer to each other.
#[tokio::test]
async fn a_tree_goes_from_its_root_to_its_leaves_and_is_deleted_from_its_leaves() {
    for batch in BATCHES {
        let planner = Planner::new(batch).await;
        planner.task("leaf", "p1", Some("branch")).await;
        planner.task("branch", "p1", Some("root")).await;
        planner.task("root", "p1", None).await;
        planner.project("p1", "house").await;
        let report = planner.sync().await;
        assert_eq!((report.pushed, report.parked), (4, 0), "batches of {batch}");
        planner
            .projects
            .enqueue_delete(&scope(), &"p1".into())
            .await
            .unwrap();
        for id in ["root", "branch", "leaf"] {
            planner.tasks.enqueue_delete(&scope(), &id.into()).await.unwrap();
        }
        let report = planner.sync().await;
        assert_eq!(
            (report.pushed, report.parked),
            (4, 0),
            "deletes in batches of {batch}"
        );
        assert_eq!(planner.rows(), 0);
    }
}

// P11: a pause that the remote asked for one operation holds for its children as well.
#[tokio::test]
async fn a_child_does_not_send_a_parent_before_its_pause_has_ended() {
    let planner = Planner::new(10).await;
    planner.project("p1", "house").await;
    planner
        .remote
        .faults()
        .script(Call::Push, Fault::RetryOps([0].into()));
    planner.sync().await;
    let sent = planner.remote.push_log().len();
    planner.task("t1", "p1", None).await;
    let _ = planner.engine.push_only(&scope()).await;
    assert_eq!(
        (planner.remote.push_log().len(), planner.ops().await.len()),
        (sent, 2)
    );
    planner.time.clock.advance(Duration::from_secs(900));
    let report = planner.sync().await;
    assert_eq!((report.pushed, planner.rows()), (2, 2));
}

// P9: only what depends on a refused operation waits with it.
#[tokio::test]
async fn children_of_a_refused_parent_wait_and_everything_else_goes_on() {
    for batch in BATCHES {
        let planner = Planner::new(batch).await;
        planner.project("bad", "").await;
        planner.task("child", "bad", None).await;
        planner.task("grandchild", "good", Some("child")).await;
        planner.project("good", "garden").await;
        planner.task("other", "good", None).await;
        let report = planner.sync().await;
        assert_eq!((report.pushed, report.parked), (2, 1), "batches of {batch}");
        // A child that was sent beside its parent first waits for another attempt.
        planner.time.clock.advance(std::time::Duration::from_secs(900));
        assert_eq!(planner.sync().await.pushed, 0);
        assert_eq!(
            planner.ops().await,
            [
                ("bad".to_owned(), OpStateKind::Parked),
                ("child".to_owned(), OpStateKind::Blocked),
                ("grandchild".to_owned(), OpStateKind::Blocked),
            ],
            "batches of {batch}"
        );
        planner.sync().await;
        planner
            .projects
            .enqueue_update(&scope(), &project("bad", "house"))
            .await
            .unwrap();
        planner.time.clock.advance(std::time::Duration::from_secs(900));
        planner.sync().await;
        planner.time.clock.advance(std::time::Duration::from_secs(900));
        planner.sync().await;
        assert_eq!(planner.ops().await, [], "the corrected parent frees its children");
        assert_eq!(planner.rows(), 5);
    }
}

// P9, P3: the user gives the parent up; its children are sent, and the refusal is theirs to see.
#[tokio::test]
async fn children_of_a_discarded_parent_do_not_wait_for_ever() {
    let planner = Planner::new(100).await;
    planner.project("bad", "").await;
    planner.task("child", "bad", None).await;
    planner.sync().await;
    let parent = planner
        .engine
        .pending_ops(&OpQuery::default())
        .await
        .unwrap()
        .remove(0);
    planner.engine.discard_op(parent.op_id).await.unwrap();
    planner.time.clock.advance(std::time::Duration::from_secs(900));
    planner.sync().await;
    assert_eq!(planner.ops().await, [("child".to_owned(), OpStateKind::Parked)]);
}

// P11: a parent that is tried again later takes its children along when it goes.
#[tokio::test]
async fn children_of_a_parent_that_is_retried_follow_it_without_help() {
    let planner = Planner::new(100).await;
    planner.project("p1", "house").await;
    planner.task("t1", "p1", None).await;
    planner.remote.faults().script(
        adapter_memory::faults::Call::Push,
        adapter_memory::faults::Fault::RetryOps([0].into()),
    );
    let report = planner.sync().await;
    assert_eq!((report.pushed, report.parked), (0, 0));
    for _ in 0..3 {
        planner.time.clock.advance(std::time::Duration::from_secs(900));
        planner.sync().await;
    }
    assert_eq!(planner.ops().await, []);
    assert_eq!(planner.rows(), 2);
}

// Trap 22 with write batches: the batch stands before the parent that one of its members needs.
#[tokio::test]
async fn a_write_batch_goes_after_the_parents_of_all_its_members() {
    for batch in BATCHES {
        let planner = Planner::new(batch).await;
        let members = vec![
            Write::create(&scope(), &project("early", "garden")).unwrap(),
            Write::create(&scope(), &task("t1", "early", None)).unwrap(),
            Write::create(&scope(), &task("t2", "late", None)).unwrap(),
        ];
        planner.engine.write_batch(members).await.unwrap();
        planner.project("late", "house").await;
        let report = planner.sync().await;
        assert_eq!((report.pushed, report.parked), (4, 0), "batches of {batch}");
    }
}

// P9: one member waits for a refused parent outside of the batch, and the others went without it.
#[tokio::test]
async fn a_write_batch_with_a_member_that_must_wait_waits_as_a_whole() {
    let planner = Planner::new(100).await;
    planner.project("bad", "").await;
    planner.sync().await;
    let members = vec![
        Write::create(&scope(), &project("good", "garden")).unwrap(),
        Write::create(&scope(), &task("t1", "bad", None)).unwrap(),
    ];
    planner.engine.write_batch(members).await.unwrap();
    assert_eq!(planner.sync().await.pushed, 0);
    assert_eq!(planner.rows(), 0, "nothing of it took effect");
    planner
        .projects
        .enqueue_update(&scope(), &project("bad", "house"))
        .await
        .unwrap();
    for _ in 0..2 {
        planner.time.clock.advance(std::time::Duration::from_secs(900));
        planner.sync().await;
    }
    assert_eq!(planner.ops().await, []);
    assert_eq!(planner.rows(), 3);
}

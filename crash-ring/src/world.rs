//! The app under test: the real engine over the real store, on a disk that can crash, with a remote in memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use adapter_memory::{
    Backup, MemoryRemoteStore, Rejection,
    faults::{Call, Fault},
};
use clap::ValueEnum;
use sea_orm::{ConnectOptions, DatabaseConnection};
use serde::{Deserialize, Serialize};
use store_sea_orm::{Durability, OpenOptions, SeaOrmLocalStore, SqliteDriver};
use sync_core::{
    CacheLimits, CachePolicy, CollectionName, EngineOptions, ErrorKind, LocalStore, OpId, Payload, RecordId,
    RecordKey, Result, SimpleSyncOrchestrator, SyncEngine, SyncError, SyncRecord, SyncScope, Target, Write,
    resolve::{Conflict, ConflictResolver, LastWriteWins, Resolution},
};
use sync_testkit::{
    effects::TestEffects,
    naive::{StoreMistake, WrongStore},
};

use crate::{disk::Disk, dump, recorder::Recorder, story::Step};

/// The records of the story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "todos")]
pub(crate) struct Todo {
    #[sync(id)]
    pub(crate) id: String,
    pub(crate) title: String,
    #[sync(index)]
    pub(crate) done: bool,
}

/// A record gets a title, or is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: &'static str,
    pub(crate) title: Option<String>,
}

/// Titles by id.
pub(crate) type Titles = BTreeMap<String, String>;

/// The store that is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// The store as apps have it: `synchronous=FULL`.
    Full,
    /// The same, through sqlx.
    FullThroughSqlx,
    /// [`Durability::Normal`], where the calling task makes short writes.
    Normal,
    /// Wrong on purpose: `synchronous=OFF`.
    Off,
    /// Wrong on purpose: rows and operations are committed one after the other.
    SplitStatements,
}

impl Subject {
    /// Every store.
    pub const ALL: [Self; 5] = [
        Self::Full,
        Self::FullThroughSqlx,
        Self::Normal,
        Self::Off,
        Self::SplitStatements,
    ];

    /// The stores that keep what they promise, or should.
    pub const SOUND: [Self; 3] = [Self::Full, Self::FullThroughSqlx, Self::Normal];

    /// Whether the store keeps what it promises, or should.
    pub fn is_sound(self) -> bool {
        Self::SOUND.contains(&self)
    }

    /// Opens a store that is right.
    ///
    /// # Errors
    /// If it cannot be opened, and for a store that is wrong on purpose.
    pub(crate) async fn open(self, options: OpenOptions) -> Result<SeaOrmLocalStore> {
        let options = match self {
            Self::Full => options,
            Self::FullThroughSqlx => options.sqlite_driver(SqliteDriver::Sqlx),
            Self::Normal => options.durability(Durability::Normal),
            Self::Off | Self::SplitStatements => {
                return Err(internal(format!("{self:?} is wrong on purpose")));
            }
        };
        SeaOrmLocalStore::open(options).await
    }

    /// What it is called on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("none is hidden");
        value.get_name().to_owned()
    }

    /// Whether commits that were acknowledged survive the loss of power, or should.
    pub(crate) fn survives_power_loss(self) -> bool {
        matches!(self, Self::Full | Self::FullThroughSqlx | Self::SplitStatements)
    }
}

pub(crate) fn scope() -> SyncScope {
    SyncScope::new("inbox").expect("the name is valid")
}

pub(crate) fn target() -> Target {
    Target::new(CollectionName::new("todos").expect("the name is valid"), scope())
}

pub(crate) fn key(id: &str) -> RecordKey {
    RecordKey::new(target(), RecordId::new(id).expect("the id is valid"))
}

pub(crate) fn todo(id: &str, title: &str) -> Todo {
    Todo {
        id: id.to_owned(),
        title: title.to_owned(),
        done: false,
    }
}

/// A title that the server refuses.
pub(crate) const POISON: &str = "poison";

/// A title about whose conflicts the user is asked.
pub(crate) const ASKS: &str = "ask me";

/// The last write wins, unless the user wants to be asked.
#[derive(Clone, Copy, Debug)]
struct AsksSometimes;

impl ConflictResolver for AsksSometimes {
    fn name(&self) -> &str {
        "asks_sometimes"
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        let local = conflict.local.as_ref().map(Payload::decode::<Todo>).transpose()?;
        if local.is_some_and(|todo| todo.title == ASKS) {
            return Ok(Resolution::Defer);
        }
        LastWriteWins.resolve(conflict)
    }
}

/// A remote at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    backup: Backup,
    /// How often each operation had taken effect.
    applied: BTreeMap<OpId, u64>,
}

/// A remote and a time.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) time: TestEffects,
    pub(crate) remote: MemoryRemoteStore,
    applied_before: BTreeMap<OpId, u64>,
}

impl World {
    pub(crate) fn new() -> Self {
        let time = TestEffects::tokio(7);
        // Without epochs, a remote that is put back to a moment goes on as if nothing had been.
        let remote = MemoryRemoteStore::builder()
            .clock(Arc::new(time.clock.clone()))
            .adjust(|can| can.epoch = false)
            .build();
        remote.set_validator(|op| {
            let poisoned = op.payload.as_ref()?.decode::<Todo>().ok()?.title == POISON;
            poisoned.then(|| Rejection::new("poison", "the server refuses this title"))
        });
        Self {
            time,
            remote,
            applied_before: BTreeMap::new(),
        }
    }

    /// A world that goes on from this moment, an hour later.
    pub(crate) fn at(moment: &Moment, end: sync_core::Timestamp) -> Self {
        let mut world = Self::new();
        world.time.clock.set(end.plus(Duration::from_secs(3_600)));
        world.remote.restore(&moment.backup);
        world.applied_before = moment.applied.clone();
        world
    }

    pub(crate) fn moment(&self) -> Moment {
        let pushed = self.remote.push_log();
        let ops = pushed.iter().flat_map(|batch| &batch.ops);
        Moment {
            backup: self.remote.backup(),
            applied: ops
                .map(|op| (op.op_id, self.remote.applied_count(op.op_id)))
                .collect(),
        }
    }

    /// The operations that took effect more than once.
    pub(crate) fn doubled(&self) -> Vec<OpId> {
        let now = self.moment().applied.into_iter();
        now.filter(|(op, count)| count + self.applied_before.get(op).unwrap_or(&0) > 1)
            .map(|(op, _)| op)
            .collect()
    }

    pub(crate) fn titles(&self) -> Titles {
        let live = self.remote.dump(&target()).into_iter();
        live.filter_map(|(id, payload)| Some((id.to_string(), payload.decode::<Todo>().ok()?.title)))
            .collect()
    }

    /// Lets the pauses after failures end, and leases that nobody gives back.
    pub(crate) fn pass_pauses(&self) {
        self.time.clock.advance(Duration::from_secs(900));
    }

    fn theirs(&self, change: &Change) {
        match &change.title {
            Some(title) => {
                let payload = Payload::encode(&todo(change.id, title)).expect("a todo is an object");
                self.remote.put(&key(change.id), payload);
            }
            None => {
                self.remote.delete(&key(change.id));
            }
        }
    }
}

/// A store, with what is needed to close it.
#[derive(Clone, Debug)]
pub(crate) struct OpenStore {
    pub(crate) store: Arc<dyn LocalStore>,
    connection: Option<DatabaseConnection>,
}

impl OpenStore {
    pub(crate) async fn open(disk: &Disk, subject: Subject) -> Result<Self> {
        let options = OpenOptions::file(disk.path())
            .vfs(Disk::VFS)
            .readers(1)
            // So short that pages are moved into the file all the time.
            .wal_pages(24)
            .busy_timeout(Duration::from_millis(20));
        let (store, connection): (Arc<dyn LocalStore>, _) = match subject {
            Subject::Full | Subject::FullThroughSqlx | Subject::Normal => {
                (Arc::new(subject.open(options).await?), None)
            }
            Subject::SplitStatements => {
                let whole = Arc::new(Subject::Full.open(options).await?);
                let split = WrongStore::new(whole, StoreMistake::CommitsRowsBeforeOperations);
                (Arc::new(split), None)
            }
            Subject::Off => {
                let connection = connect_without_syncs(disk).await?;
                let store = SeaOrmLocalStore::with_connection(connection.clone()).await?;
                (Arc::new(store), Some(connection))
            }
        };
        Ok(Self { store, connection })
    }

    pub(crate) async fn close(&self) -> Result<()> {
        self.store.close().await?;
        if let Some(connection) = &self.connection {
            connection.close_by_ref().await.map_err(internal)?;
        }
        Ok(())
    }
}

async fn connect_without_syncs(disk: &Disk) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(disk.url());
    options
        .max_connections(1)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|settings| {
            settings
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "OFF")
        });
    sea_orm::Database::connect(options).await.map_err(internal)
}

pub(crate) fn internal(error: impl std::fmt::Display) -> SyncError {
    SyncError::new(ErrorKind::Internal, error.to_string())
}

/// The app.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) disk: Disk,
    pub(crate) subject: Subject,
    pub(crate) opened: OpenStore,
    recorder: Option<Recorder>,
    pub(crate) todos: SimpleSyncOrchestrator<Todo>,
    client: MemoryRemoteStore,
}

impl Device {
    /// Starts the app.
    pub(crate) async fn start(
        disk: &Disk,
        subject: Subject,
        world: &World,
        recorder: Option<Recorder>,
    ) -> Result<Self> {
        let opened = OpenStore::open(disk, subject).await?;
        Self::over(disk, subject, world, opened, recorder).await
    }

    /// Starts the app over a store that is open.
    pub(crate) async fn over(
        disk: &Disk,
        subject: Subject,
        world: &World,
        opened: OpenStore,
        recorder: Option<Recorder>,
    ) -> Result<Self> {
        let store = match &recorder {
            Some(recorder) => recorder.clone().over(opened.store.clone()),
            None => opened.store.clone(),
        };
        let client = world.remote.another_client();
        let built = SyncEngine::builder(store, Arc::new(client.clone()))
            .register_with::<Todo>(AsksSometimes)
            // Small pages: a pull takes several transactions.
            .options(EngineOptions::default().with_page_size(2).with_commit_rows(1))
            .effects(world.time.effects())
            .build()
            .await;
        let todos = match built.and_then(|engine| engine.of()) {
            Ok(todos) => todos,
            Err(error) => {
                opened.close().await?;
                return Err(error);
            }
        };
        Ok(Self {
            disk: disk.clone(),
            subject,
            opened,
            recorder,
            todos,
            client,
        })
    }

    pub(crate) fn engine(&self) -> &SyncEngine {
        self.todos.engine()
    }

    /// Takes one step of a story.
    pub(crate) async fn take(&mut self, step: &Step, world: &World) -> Result<()> {
        match step {
            Step::Write(changes) => self.write(changes).await?,
            Step::Sync => {
                world.pass_pauses();
                self.engine().synchronize(&scope()).await?;
            }
            Step::Push => {
                world.pass_pauses();
                match self.engine().push_only(&scope()).await {
                    Err(error) if error.kind() == ErrorKind::Timeout => {}
                    other => drop(other?),
                }
            }
            Step::FullResync => {
                world.pass_pauses();
                self.engine().full_resync(&scope()).await?;
            }
            Step::LoseAnswer => {
                let lost = SyncError::new(ErrorKind::Timeout, "the answer was lost");
                self.client.faults().script(Call::Push, Fault::FailAfter(lost));
            }
            Step::Theirs(change) => world.theirs(change),
            Step::Malformed => {
                let id = RecordId::new("broken").expect("the id is valid");
                world.remote.put_malformed(&target(), Some(&id), "{\"title\":");
            }
            Step::Shrink => {
                let limits = CacheLimits::default().with_max_bytes(600);
                self.engine().set_cache_limits(&limits).await?;
                self.engine().set_cache_limits(&CacheLimits::default()).await?;
            }
            Step::Checkpoint => dump::checkpoint(&self.disk).await?,
            Step::Restart => {
                self.close().await?;
                *self = Self::start(&self.disk, self.subject, world, self.recorder.clone()).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, changes: &[Change]) -> Result<()> {
        let mut writes = Vec::with_capacity(changes.len());
        let shown = self.titles().await?;
        for change in changes {
            writes.push(match &change.title {
                None => Write::delete::<Todo>(&scope(), &change.id.to_owned())?,
                Some(title) if shown.contains_key(change.id) => {
                    Write::update(&scope(), &todo(change.id, title))?
                }
                Some(title) => Write::create(&scope(), &todo(change.id, title))?,
            });
        }
        self.engine().write_batch(writes).await.map(drop)
    }

    pub(crate) async fn close(&self) -> Result<()> {
        self.engine().stop();
        self.opened.close().await
    }

    /// What the user sees.
    pub(crate) async fn titles(&self) -> Result<Titles> {
        let answer = self.todos.read(&scope(), CachePolicy::OfflineOnly).await?;
        Ok(answer
            .items
            .into_iter()
            .map(|todo| (todo.id, todo.title))
            .collect())
    }

    /// Synchronizes until nothing is left, and says what is wrong then.
    pub(crate) async fn converge(&self, world: &World) -> Result<Vec<String>> {
        for _ in 0..2 {
            world.pass_pauses();
            self.engine().synchronize(&scope()).await?;
        }
        let mut wrong = Vec::new();
        let pending = self.engine().count_ops(None).await?.total();
        if pending > 0 {
            wrong.push(format!("{pending} operations are left"));
        }
        let (mine, theirs) = (self.titles().await?, world.titles());
        if mine != theirs {
            wrong.push(format!("here {mine:?}, there {theirs:?}"));
        }
        let doubled = world.doubled();
        if !doubled.is_empty() {
            wrong.push(format!("{doubled:?} took effect more than once"));
        }
        Ok(wrong)
    }
}

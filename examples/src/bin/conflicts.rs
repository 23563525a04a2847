//! Two devices change the same record while apart. What becomes of it is for a resolver to decide: here four.

use std::{error::Error, sync::Arc, time::Duration};

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use serde::{Deserialize, Serialize};
use sync_core::{
    CachePolicy, ConflictQuery, Payload, SimpleSyncOrchestrator, SyncRecord, SyncScope,
    resolve::{
        ConflictResolver, FieldMerge, FieldPolicy, LastWriteWins, Manual, Resolution, TypedConflict,
        TypedResolver,
    },
};

type Answer<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "shopping")]
struct Item {
    #[sync(id)]
    id: String,
    name: String,
    amount: u32,
}

/// Two devices that agreed on one item, and then changed it without knowing of each other: first A wants 5 of it,
/// then B calls it "green tea" and wants 3.
struct Quarrel {
    scope: SyncScope,
    a: SimpleSyncOrchestrator<Item>,
    b: SimpleSyncOrchestrator<Item>,
}

impl Quarrel {
    async fn new<R: ConflictResolver>(resolver: impl Fn() -> R) -> Answer<Self> {
        let remote = MemoryRemoteStore::new();
        let device = async || {
            let store = Arc::new(MemoryLocalStore::new());
            SimpleSyncOrchestrator::open_with(store, Arc::new(remote.another_client()), resolver()).await
        };
        let quarrel = Self {
            scope: SyncScope::new("home")?,
            a: device().await?,
            b: device().await?,
        };
        let Self { scope, a, b } = &quarrel;
        let tea = Item {
            id: "1".into(),
            name: "tea".into(),
            amount: 1,
        };
        a.enqueue_create(scope, &tea).await?;
        a.synchronize(scope).await?;
        b.synchronize(scope).await?;

        a.enqueue_update(
            scope,
            &Item {
                amount: 5,
                ..tea.clone()
            },
        )
        .await?;
        // Of two writes within one millisecond, chance decides which is the later. Users are slower than that.
        tokio::time::sleep(Duration::from_millis(5)).await;
        b.enqueue_update(
            scope,
            &Item {
                name: "green tea".into(),
                amount: 3,
                ..tea
            },
        )
        .await?;
        // A comes back first. B finds the conflict.
        a.synchronize(scope).await?;
        b.synchronize(scope).await?;
        Ok(quarrel)
    }

    /// Lets both devices catch up, and prints what they hold.
    async fn end(&self) -> Answer {
        self.b.synchronize(&self.scope).await?;
        self.a.synchronize(&self.scope).await?;
        for (name, device) in [("A", &self.a), ("B", &self.b)] {
            println!("  {name} ends with {}", self.held_by(device).await?);
        }
        Ok(())
    }

    async fn held_by(&self, device: &SimpleSyncOrchestrator<Item>) -> Answer<String> {
        let item = device
            .get(&self.scope, &"1".to_owned(), CachePolicy::OfflineOnly)
            .await?;
        Ok(item.map_or_else(
            || "nothing".to_owned(),
            |item| format!("{} x {}", item.amount, item.name),
        ))
    }
}

#[tokio::main]
async fn main() -> Answer {
    println!("Both devices hold 1 x tea. Apart, A makes it 5 x tea, and later B makes it 3 x green tea.\n");

    println!("LastWriteWins: the later write stands as a whole.");
    Quarrel::new(|| LastWriteWins).await?.end().await?;

    println!(
        "\nFieldMerge: each field for itself. The name from B, who alone changed it; of the amounts the larger."
    );
    Quarrel::new(|| FieldMerge::new().with("amount", FieldPolicy::Max))
        .await?
        .end()
        .await?;

    println!("\nA resolver of your own, over your own type: keep B's name, and buy enough for both.");
    Quarrel::new(|| TypedResolver::new("enough_for_both", enough_for_both))
        .await?
        .end()
        .await?;

    println!("\nManual: the conflict waits for the user.");
    let quarrel = Quarrel::new(|| Manual).await?;
    resolve_by_hand(&quarrel).await?;
    quarrel.end().await
}

/// Adds up what both sides wanted more than before. Must be deterministic: every device has to decide alike.
fn enough_for_both(conflict: &TypedConflict<Item>) -> Resolution<Item> {
    let (Some(local), Some(remote)) = (&conflict.local, &conflict.remote) else {
        return Resolution::TakeRemote;
    };
    let base = conflict.base.as_ref().map_or(0, |base| base.amount);
    Resolution::Merged(Item {
        amount: (local.amount + remote.amount).saturating_sub(base),
        ..local.clone()
    })
}

async fn resolve_by_hand(quarrel: &Quarrel) -> Answer {
    let engine = quarrel.b.engine();
    let open = ConflictQuery {
        open: Some(true),
        ..ConflictQuery::default()
    };
    println!(
        "  meanwhile B works on with {}",
        quarrel.held_by(&quarrel.b).await?
    );
    for conflict in engine.conflicts(&open).await? {
        let text =
            |side: Option<&Payload>| side.map_or("deleted".to_owned(), |side| side.as_str().to_owned());
        println!("  B lists: base {}", text(conflict.base.as_ref()));
        println!("           local {}", text(conflict.local.as_ref()));
        println!("           remote {}", text(conflict.remote.payload()));
        println!("  the user takes the remote one");
        engine
            .resolve_conflict(conflict.conflict_id, Resolution::TakeRemote)
            .await?;
    }
    println!(
        "  open conflicts left on B: {}",
        engine.conflicts(&open).await?.len()
    );
    Ok(())
}

//! A project with the feed, and a member whose tokens can be renewed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adapter_supabase::{
    ApiKey, PhoenixVersion, RealtimeOptions, SupabaseConfig, SupabaseRemoteStore,
    migration::{FeedMigration, FeedTable, ScopeRule},
};
use async_trait::async_trait;
use supabase_stack::{PostgresVersion, Stack};
use sync_core::{CollectionName, Effects, RemoteStoreExt, Result, SyncScope, Target};
use sync_http::{Credentials, TokenSource};

const TABLE: &str = "
    create table public.todo (id uuid primary key, scope text not null, title text);
    alter table public.todo enable row level security;
    create table public.members (scope text, user_id uuid, can_write boolean)";
const POLICIES: &str = "
    create policy members on public.todo for all to authenticated using (scope in (select sync.my_scopes()))
      with check (scope in (select sync.my_scopes(true)))";

pub(super) struct FeedProject {
    pub(super) stack: Stack,
    pub(super) tokens: Arc<Tokens>,
}

/// Tokens of the member.
#[derive(Debug)]
pub(super) struct Tokens {
    current: Mutex<Credentials>,
    /// What renewing gives: good for some hours.
    next: Credentials,
    renewals: AtomicUsize,
}

impl Tokens {
    /// How often the project refused a token.
    pub(super) fn renewals(&self) -> usize {
        self.renewals.load(Ordering::SeqCst)
    }

    /// Takes the next token into use, as a refresh ahead of time does.
    pub(super) fn refresh(&self) {
        *self.current.lock().unwrap() = self.next.clone();
    }
}

#[async_trait]
impl TokenSource for Tokens {
    async fn credentials(&self) -> Result<Option<Credentials>> {
        Ok(Some(self.current.lock().unwrap().clone()))
    }

    async fn renew(&self, _refused: Option<&Credentials>) -> Result<Credentials> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        self.refresh();
        Ok(self.next.clone())
    }
}

impl FeedProject {
    pub(super) async fn start(postgres: PostgresVersion) -> Option<Self> {
        let table = FeedTable::new("todo", ScopeRule::column("scope")).columns(["title"]);
        let migration = FeedMigration::new()
            .membership("select scope, user_id, can_write from public.members")
            .table(table)
            .to_sql()
            .unwrap();
        let stack = Stack::for_tests(postgres, &[TABLE, &migration, POLICIES]).await?;
        let user = stack.add_user("ada@example.com", "secret").await.unwrap();
        let member = format!("insert into public.members values ('team', '{user}', true)");
        stack.run_sql(&member).await.unwrap();
        let token = |hours: u64| {
            stack
                .auth()
                .set_token_lifetime(Duration::from_secs(hours * 3_600));
            Credentials::from_jwt(stack.access_token(&user))
        };
        let tokens = Tokens {
            current: Mutex::new(token(1)),
            next: token(5),
            renewals: AtomicUsize::new(0),
        };
        Some(Self {
            stack,
            tokens: Arc::new(tokens),
        })
    }

    pub(super) async fn connect(&self, version: PhoenixVersion, effects: Effects) -> SupabaseRemoteStore {
        let key = ApiKey::new(self.stack.publishable_key());
        let config = SupabaseConfig::new(&self.stack.url(), key, effects)
            .unwrap()
            .signed_in(self.tokens.clone())
            .with_realtime(RealtimeOptions::default().with_protocol(version));
        SupabaseRemoteStore::connect(config).await.unwrap()
    }

    pub(super) fn scope(&self) -> SyncScope {
        SyncScope::new("team").unwrap()
    }

    pub(super) async fn insert(&self, number: u32) {
        let row =
            format!("insert into public.todo values ('00000000-0000-0000-0000-{number:012}', 'team', 'x')");
        self.stack.run_sql(&row).await.unwrap();
    }

    /// How many changes a pull from nothing brings.
    pub(super) async fn pull(&self, remote: &SupabaseRemoteStore) -> usize {
        let target = Target::new(CollectionName::new("todo").unwrap(), self.scope());
        let pages = remote.pull_all(&target, None, 100).await.unwrap();
        pages.iter().map(|page| page.changes.len()).sum()
    }
}

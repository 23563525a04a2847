-- The change feed, 1 of 6: what it keeps.
--
-- All files together are one idempotent step to format 2: run again they change nothing, and run over an older
-- format they bring it up. No column is added to the tables of the application.

do $$
declare
  wanted_role text;
  installed integer;
begin
  if current_setting('server_version_num')::integer < 150000 then
    raise exception 'the change feed needs PostgreSQL 15 or newer, this is %', current_setting('server_version');
  end if;
  foreach wanted_role in array array['anon', 'authenticated', 'service_role'] loop
    if to_regrole(wanted_role) is null then
      raise exception 'role "%" does not exist: the change feed is made for Supabase', wanted_role;
    end if;
  end loop;
  if to_regclass('sync.meta') is not null then
    select format into installed from sync.meta;
    if installed > 2 then
      raise exception 'the change feed here has format %, this is format 2: use the newer migration', installed;
    end if;
  elsif to_regnamespace('sync') is not null then
    raise exception 'there is a schema "sync" that is not the change feed''s';
  end if;
end $$;

create schema if not exists sync;
comment on schema sync is 'Change feed for offline clients. Not to be exposed through the API.';

-- One row. `format` is raised by each version that an earlier one must not overwrite. `epoch` names this incarnation of
-- the database, `fingerprint` what it was made in, and a version is
-- `version_base` + the number of a change, so that versions of a later incarnation are all greater.
create table if not exists sync.meta (
  single boolean primary key default true check (single),
  format integer not null,
  epoch uuid not null default gen_random_uuid(),
  fingerprint text not null,
  version_base bigint not null
);

-- Who may read or write a scope, unless the view sync.access is replaced.
create table if not exists sync.member (
  scope text collate "C" not null,
  user_id text not null,
  can_write boolean not null default true,
  primary key (scope, user_id)
);
create index if not exists member_user on sync.member (user_id);

-- `seq` is the number of the last change of a scope. Whoever takes a number holds the row until the commit, so the
-- order of numbers is the order of commits. Tombstones up to `floor` may have been forgotten.
create table if not exists sync.scope (
  scope text collate "C" primary key,
  seq bigint not null default 0,
  floor bigint not null default 0
) with (fillfactor = 50);

-- The number that stands for a collection in a scope: short keys make short work of the index below.
create table if not exists sync.feed (
  number integer generated always as identity primary key,
  scope text collate "C" not null,
  collection text collate "C" not null,
  unique (scope, collection)
);

-- The change index: of each row that is or was in a scope, the number of its last change.
create table if not exists sync.change (
  feed integer not null,
  id text collate "C" not null,
  seq bigint not null,
  deleted boolean not null,
  changed_at timestamptz not null,
  stamp text,
  primary key (feed, id)
) with (fillfactor = 80);
do $$
begin
  if exists (
    select 1 from pg_attribute where attrelid = 'sync.change'::regclass and attname = 'scope' and not attisdropped) then
    -- Of an earlier version, which wrote out scope and collection in each row.
    lock table sync.scope, sync.change in access exclusive mode;
    insert into sync.feed (scope, collection) select distinct c.scope, c.collection from sync.change c order by 1, 2;
    alter table sync.change add column feed integer;
    update sync.change c set feed = f.number from sync.feed f where f.scope = c.scope and f.collection = c.collection;
    alter table sync.change drop column scope, drop column collection, alter column feed set not null, add primary key (feed, id);
  end if;
end $$;
-- Over an expression, so that it is never taken for the look-up of single records, not even by a plan that was made
-- when the table was small.
create unique index if not exists change_feed on sync.change ((feed + 0), seq);
create index if not exists change_tombstones on sync.change (changed_at) where deleted;
comment on column sync.change.stamp is 'The client''s stamp of the write; null if it came from elsewhere.';

-- The operations that took effect, so that a repetition has no second one.
create table if not exists sync.applied (
  user_id text not null,
  op_id uuid not null,
  seq bigint not null,
  applied_at timestamptz not null default now(),
  primary key (op_id, user_id)
);

-- The tables that are synchronized. `fill_column` is set to the scope when a client makes a row.
create table if not exists sync.collection (
  name text collate "C" primary key,
  relation regclass not null unique,
  id_column name not null,
  id_type text not null,
  scope_expression text not null,
  fill_column name,
  columns text[] not null,
  writable text[] not null
);

revoke all on schema sync from public;
revoke all on all tables in schema sync from public, anon, authenticated;
grant usage on schema sync to authenticated, service_role;

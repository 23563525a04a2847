-- The change feed, 2 of 6: who is asking, what they may see, and which incarnation of the database answers.

-- Functions that are called often are PL/pgSQL, which keeps their plans for the session.

-- The caller: the subject of the token, or the service role. Null for nobody.
create or replace function sync.caller() returns text
language plpgsql stable set search_path = '' as $$
begin
  return coalesce(
    nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', ''),
    case when current_setting('role', true) = 'service_role' then 'service_role' end);
end $$;

-- Who may do what. A project with a membership table of its own replaces this view; its columns stay.
do $$
begin
  if to_regclass('sync.access') is null then
    create view sync.access as select scope, user_id, can_write from sync.member;
  end if;
end $$;
revoke all on sync.access from public, anon, authenticated;

-- For policies: `scope in (select sync.my_scopes())`. So written it is evaluated once for each statement.
create or replace function sync.my_scopes(for_writing boolean default false) returns setof text
language plpgsql stable security definer set search_path = '' rows 20 as $$
declare
  caller text := sync.caller();
begin
  return query select a.scope from sync.access a where a.user_id = caller and (a.can_write or not for_writing);
end $$;

create or replace function sync.may_read(p_scope text) returns boolean
language plpgsql stable security definer set search_path = '' as $$
declare
  caller text := sync.caller();
begin
  return current_setting('role', true) = 'service_role'
    or exists (select 1 from sync.access a where a.scope = p_scope and a.user_id = caller);
end $$;

create or replace function sync.may_write(p_scope text) returns boolean
language plpgsql stable security definer set search_path = '' as $$
declare
  caller text := sync.caller();
begin
  return current_setting('role', true) = 'service_role'
    or exists (select 1 from sync.access a where a.scope = p_scope and a.user_id = caller and a.can_write);
end $$;

-- A value within a scope key. Null if there is none: the row is then in no scope.
create or replace function sync.escape(p_value text) returns text language sql immutable return
  replace(replace(replace(replace(p_value, '%', '%25'), '?', '%3F'), '&', '%26'), '=', '%3D');

create or replace function sync.require_reader(p_scope text) returns void
language plpgsql stable security definer set search_path = '' as $$
begin
  if not sync.may_read(p_scope) then
    raise sqlstate 'PT403' using message = 'the caller is not a member of the scope', hint = 'not_a_member',
      detail = p_scope;
  end if;
end $$;

-- The registered table of a collection.
create or replace function sync.described(p_collection text) returns sync.collection
language plpgsql stable security definer set search_path = '' as $$
declare
  found_row sync.collection;
begin
  select * into found_row from sync.collection where name = p_collection;
  if not found then
    raise sqlstate 'PT404' using message = format('there is no collection %L', p_collection),
      hint = 'unknown_collection';
  end if;
  return found_row;
end $$;

-- What this database is: cluster, timeline, database and the very table that holds the epoch. A restored backup
-- differs in at least one, unless its files or the table's content were put back under the same server.
create or replace function sync.fingerprint() returns text
language plpgsql stable security definer set search_path = '' as $$
begin
  return concat_ws(':',
    (select system_identifier from pg_control_system()),
    substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
    (select oid from pg_database where datname = current_database()),
    'sync.meta'::regclass::oid);
end $$;

-- Versions made from now on are greater than all that were made before this minute.
create or replace function sync.fresh_version_base() returns bigint
language sql volatile set search_path = '' as $$
  select (extract(epoch from clock_timestamp() - timestamptz '2025-01-01 00:00:00+00') / 60)::bigint << 37
$$;

insert into sync.meta (format, fingerprint, version_base)
values (2, sync.fingerprint(), sync.fresh_version_base())
on conflict (single) do update set format = excluded.format where sync.meta.format <> excluded.format;

-- Starts a new epoch: every client synchronizes anew, and keeps what it has not sent yet.
create or replace function sync.renew_epoch() returns uuid
language sql volatile security definer set search_path = '' as $$
  update sync.meta set epoch = gen_random_uuid(), fingerprint = sync.fingerprint(),
    version_base = greatest(version_base + (1::bigint << 37), sync.fresh_version_base())
  returning epoch
$$;

-- Starts a new epoch if this is not the database in which the present one was made.
create or replace function sync.check_epoch() returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  if pg_is_in_recovery() then
    return;
  end if;
  if (select m.fingerprint <> sync.fingerprint() from sync.meta m) then
    perform 1 from sync.meta for update;
    if (select m.fingerprint <> sync.fingerprint() from sync.meta m) then
      perform sync.renew_epoch();
    end if;
  end if;
end $$;

-- All clients of one scope synchronize anew, for example after a change of policies that touches no row.
create or replace function sync.require_resync(p_scope text) returns void
language sql volatile security definer set search_path = '' as $$
  insert into sync.scope as s (scope, seq, floor) values (p_scope, 1, 1)
  on conflict (scope) do update set seq = s.seq + 1, floor = s.seq + 1
$$;

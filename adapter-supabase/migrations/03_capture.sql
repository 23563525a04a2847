-- The change feed, 3 of 6: how changes of tables get into the index.

-- Writes to the index what a push changed: where it found the entries there are, and entries for records that had none.
-- False if not all was so any more, which triggers of the application can bring about: then all is to be written anew.
create or replace function sync.note_found(
  p_feed integer, p_before bigint, p_time timestamptz, p_ids text[], p_deleted boolean[], p_stamps text[], p_entries tid[]
) returns boolean language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  number_found integer := cardinality(array_remove(p_entries, null));
  number_renewed integer := 0;
  -- (Of arrays the planner expects few elements, of a series many: then it would read the whole index.)
  numbers bigint[] := array(select generate_series(p_before + 1, p_before + cardinality(p_ids)));
begin
  if number_found > 0 then
    update sync.change c
    set seq = u.seq, deleted = u.deleted, changed_at = p_time, stamp = u.stamp
    from (
      select unnest(p_ids) as id, unnest(p_deleted) as deleted, unnest(p_stamps) as stamp, unnest(p_entries) as entry,
        unnest(numbers) as seq) u
    where c.ctid = u.entry and c.feed = p_feed and c.id = u.id;
    get diagnostics number_renewed = row_count;
  end if;
  if number_renewed = number_found and number_found < cardinality(p_ids) then
    insert into sync.change (feed, id, seq, deleted, changed_at, stamp)
    select p_feed, u.id, u.seq, u.deleted, p_time, u.stamp
    from (
      select unnest(p_ids) as id, unnest(p_deleted) as deleted, unnest(p_stamps) as stamp, unnest(p_entries) as entry,
        unnest(numbers) as seq) u
    where u.entry is null;
  end if;
  return number_renewed = number_found;
exception when unique_violation then
  return false;
end $$;

-- Numbers a set of changes, in the order of their scopes, and writes them to the index. The scopes stay locked until
-- the commit, always taken in the same order. Rows of no scope are not noted. A push leaves its records, their
-- stamps and where it found their entries in settings; other writes have none. What is left there is never believed: an
-- entry that is not the record's is looked up as for any other write. A push is told in a setting how all its records
-- were numbered in their order; it looks whether anything came after it.
create or replace function sync.note(p_collection text, p_scopes text[], p_ids text[], p_deleted boolean[])
returns void language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  stamps text[];
  entries tid[];
  in_order boolean := false;
  before bigint;
  feed_number integer;
  setting text;
  time_of_change timestamptz;
begin
  if coalesce(cardinality(p_ids), 0) = 0 then
    return;
  end if;
  if current_setting('sync.pushed', true) = p_collection then
    stamps := current_setting('sync.pushed_stamps');
    entries := current_setting('sync.pushed_entries', true);
    in_order := p_ids = current_setting('sync.pushed_ids')::text[];
    if not in_order then
      select array_agg(pushed.stamp order by u.place),
        case when bool_and(pushed.id is not null) then array_agg(pushed.entry order by u.place) end
      into stamps, entries
      from unnest(p_ids) with ordinality u(id, place)
      left join unnest(current_setting('sync.pushed_ids')::text[], stamps, entries) pushed(id, stamp, entry)
        on pushed.id = u.id;
    end if;
  end if;
  if p_scopes[1] = all(p_scopes) then
    -- One scope, as nearly always: there is nothing to sort.
    update sync.scope s set seq = s.seq + cardinality(p_ids) where s.scope = p_scopes[1]
      returning s.seq - cardinality(p_ids) into before;
    if not found then
      insert into sync.scope as s (scope, seq) values (p_scopes[1], cardinality(p_ids))
        on conflict (scope) do update set seq = s.seq + excluded.seq
        returning s.seq - cardinality(p_ids) into before;
    end if;
    time_of_change := clock_timestamp();
    select f.number into feed_number from sync.feed f where f.scope = p_scopes[1] and f.collection = p_collection;
    if not found then
      insert into sync.feed (scope, collection) values (p_scopes[1], p_collection) returning number into feed_number;
    end if;
    if entries is not null
      and sync.note_found(feed_number, before, time_of_change, p_ids, p_deleted, stamps, entries) then
      if in_order then
        setting := set_config('sync.pushed_noted', array[p_scopes[1], before::text, time_of_change::text]::text, true);
      end if;
      return;
    end if;
    -- Whoever writes entries of a scope holds it, so those that are found stay where they are, and no others come.
    with noted as materialized (
      select u.id, u.deleted, u.stamp, u.place, known.entry
      from unnest(p_ids, p_deleted, stamps) with ordinality u(id, deleted, stamp, place)
      left join lateral (
        select c.ctid as entry from sync.change c
        where c.feed = feed_number and c.id = u.id offset 0) known on true
    ), renewed as (
      update sync.change c
      set seq = before + noted.place, deleted = noted.deleted, changed_at = time_of_change, stamp = noted.stamp
      from noted where c.ctid = noted.entry
    )
    insert into sync.change (feed, id, seq, deleted, changed_at, stamp)
      select feed_number, noted.id, before + noted.place, noted.deleted, time_of_change, noted.stamp
      from noted where noted.entry is null;
    return;
  end if;
  insert into sync.scope (scope)
    select distinct u.scope from unnest(p_scopes) u(scope) where u.scope is not null order by 1
    on conflict do nothing;
  perform 1 from sync.scope s where s.scope = any(p_scopes) order by s.scope for update;
  time_of_change := clock_timestamp();
  insert into sync.feed (scope, collection)
    select distinct u.scope, p_collection from unnest(p_scopes) u(scope)
    where u.scope is not null
      and not exists (select 1 from sync.feed f where f.scope = u.scope and f.collection = p_collection);
  with noted as (
    select u.scope, u.id, u.deleted, u.stamp, row_number() over (partition by u.scope order by u.place) as place
    from unnest(p_scopes, p_ids, p_deleted, stamps) with ordinality u(scope, id, deleted, stamp, place)
    where u.scope is not null
  ), numbered as (
    update sync.scope s set seq = s.seq + counted.number
    from (select noted.scope, count(*) as number from noted group by noted.scope) counted
    where s.scope = counted.scope
    returning s.scope, s.seq - counted.number as before
  )
  insert into sync.change as c (feed, id, seq, deleted, changed_at, stamp)
    select f.number, noted.id, numbered.before + noted.place, noted.deleted, time_of_change, noted.stamp
    from noted join numbered on numbered.scope = noted.scope
    join sync.feed f on f.scope = noted.scope and f.collection = p_collection
    on conflict (feed, id) do update
    set seq = excluded.seq, deleted = excluded.deleted, changed_at = excluded.changed_at, stamp = excluded.stamp;
end $$;

-- After TRUNCATE: everything that was live is deleted.
create or replace function sync.note_truncated(p_collection text) returns void
language plpgsql security definer set search_path = '' as $$
declare
  scopes text[];
  ids text[];
begin
  select array_agg(f.scope), array_agg(c.id) into scopes, ids
  from sync.feed f join sync.change c on c.feed = f.number where f.collection = p_collection and not c.deleted;
  perform sync.note(p_collection, scopes, ids, array_fill(true, array[coalesce(cardinality(ids), 0)]));
end $$;

-- Registers a table. The triggers are made by the generated migration, which knows the expression of the scope.
create or replace function sync.register(
  p_collection text, p_relation regclass, p_id_column name, p_scope_expression text, p_fill_column name,
  p_columns text[], p_writable text[]
) returns void language plpgsql set search_path = '' as $$
declare
  relation pg_class;
  id_type text;
  missing text;
  before sync.collection;
begin
  select * into relation from pg_class where oid = p_relation;
  if relation.relkind <> 'r' or relation.relispartition
    or exists (select 1 from pg_inherits where p_relation in (inhrelid, inhparent)) then
    raise exception 'table % cannot be synchronized: it is a view, a partition or inherited', p_relation;
  end if;
  if not relation.relrowsecurity then
    raise exception 'table % has no row-level security: enable it first, the feed leaves it in charge', p_relation;
  end if;
  if row_security_active(p_relation) then
    raise exception 'row-level security of % applies to %: install as the owner of the table', p_relation, current_user;
  end if;
  select string_agg(quote_ident(wanted), ', ') into missing
  from unnest(p_columns || p_writable || array[p_id_column, p_fill_column]::text[]) wanted
  where wanted is not null and not exists (
    select 1 from pg_attribute a where a.attrelid = p_relation and a.attname = wanted and a.attnum > 0
      and not a.attisdropped);
  if missing is not null then
    raise exception 'table % has no column %', p_relation, missing;
  end if;
  if not exists (
    select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = p_relation and i.indisunique and i.indisvalid and i.indimmediate and i.indnkeyatts = 1
      and i.indpred is null and i.indexprs is null and a.attnotnull and a.attname = p_id_column) then
    raise exception 'column % of % is not its primary key nor a unique column without nulls', p_id_column, p_relation;
  end if;
  select format_type(a.atttypid, null) into id_type
  from pg_attribute a where a.attrelid = p_relation and a.attname = p_id_column;
  if id_type not in ('uuid', 'text', 'character varying', 'integer', 'bigint') then
    raise exception 'ids of type % cannot be synchronized; use uuid, text, integer or bigint', id_type;
  end if;
  if not (p_id_column::text = any(p_columns) and p_columns @> p_writable) then
    raise exception 'the columns of collection % must contain the id and every writable column', p_collection;
  end if;
  execute format('select (%s)::text from %s limit 0', p_scope_expression, p_relation);

  select * into before from sync.collection where name = p_collection;
  if before.relation <> p_relation then
    raise exception 'collection % is table % here; unregister it first', p_collection, before.relation;
  end if;
  if before.scope_expression <> p_scope_expression or before.id_column <> p_id_column then
    raise exception 'collection % has other scopes or ids here; unregister it first', p_collection;
  end if;
  insert into sync.collection as c
  values (p_collection, p_relation, p_id_column, id_type, p_scope_expression, p_fill_column, p_columns, p_writable)
  on conflict (name) do update
  set id_type = excluded.id_type, fill_column = excluded.fill_column, columns = excluded.columns,
    writable = excluded.writable;
  perform sync.make_update(p_collection);
end $$;

-- Takes a table out of the feed. Clients keep what they have.
create or replace function sync.unregister(p_collection text) returns void
language plpgsql set search_path = '' as $$
declare
  registered sync.collection := sync.described(p_collection);
  name text;
begin
  foreach name in array array['sync_inserted', 'sync_updated', 'sync_deleted', 'sync_truncated'] loop
    execute format('drop trigger if exists %I on %s', name, registered.relation);
  end loop;
  execute format('drop function if exists sync.%I(), sync.%I(jsonb[], text, text)',
    'capture_' || p_collection, 'update_' || p_collection);
  -- Whoever has synchronized the collection starts anew if it comes back.
  update sync.scope s set seq = s.seq + 1, floor = s.seq + 1
  where s.scope in (select f.scope from sync.feed f where f.collection = p_collection);
  delete from sync.change c using sync.feed f where c.feed = f.number and f.collection = p_collection;
  delete from sync.feed f where f.collection = p_collection;
  delete from sync.collection c where c.name = p_collection;
end $$;

-- Brings the index in line with the table: rows from before the installation, and whatever was written while the
-- triggers were off. It cannot see that a row was changed while they were off. Answers how many rows it noted.
create or replace function sync.reconcile(p_collection text) returns bigint
language plpgsql set search_path = '' as $$
declare
  registered sync.collection := sync.described(p_collection);
  scopes text[];
  ids text[];
  deleted boolean[];
begin
  execute format('lock table %s in share row exclusive mode', registered.relation);
  execute format($statement$
    with here as (select (%s)::text collate "C" as scope, %I::text collate "C" as id from %s),
      noted as (
        select f.scope, c.id from sync.feed f join sync.change c on c.feed = f.number
        where f.collection = $1 and not c.deleted)
    select array_agg(scope), array_agg(id), array_agg(deleted) from (
      select h.scope, h.id, false as deleted from here h
      where h.scope is not null and not exists (select 1 from noted n where n.scope = h.scope and n.id = h.id)
      union all
      select n.scope, n.id, true from noted n
      where not exists (select 1 from here h where h.scope = n.scope and h.id = n.id)
    ) differing
  $statement$, registered.scope_expression, registered.id_column, registered.relation)
  into scopes, ids, deleted using p_collection;
  perform sync.note(p_collection, scopes, ids, deleted);
  return coalesce(cardinality(ids), 0);
end $$;

-- The change feed, 4 of 6: reading. The rows themselves are always read as the caller, under the policies of the
-- application; only the index is read with the owner's rights, after a look at the membership.

-- The caller's rows of one collection and scope among `p_ids`.
create or replace function sync.rows(p_collection text, p_scope text, p_ids text[])
returns table (id text, content json) language plpgsql stable security invoker set search_path = '' rows 100 as $$
declare
  registered sync.collection;
begin
  if coalesce(cardinality(p_ids), 0) = 0 then
    return;
  end if;
  registered := sync.described(p_collection);
  -- The ids are cast, not the column: so the index is used, and before the policies look at any other row.
  return query execute format(
    'select r.%1$I::text, (select to_json(c) from (select %2$s) c) from %3$s r where r.%1$I = any($1::%4$s[]) and (%5$s)::text = $2',
    registered.id_column, (select string_agg(format('r.%I', name), ', ') from unnest(registered.columns) name),
    registered.relation, registered.id_type, registered.scope_expression)
  using p_ids, p_scope;
end $$;

-- The incarnation and how far a scope is.
create or replace function sync.head(p_scope text, out epoch uuid, out version_base bigint, out seq bigint, out floor bigint)
language plpgsql stable security definer set search_path = '' as $$
#variable_conflict use_column
begin
  select m.epoch, m.version_base, coalesce(s.seq, 0), coalesce(s.floor, 0)
  into epoch, version_base, seq, floor
  from sync.meta m left join sync.scope s on s.scope = p_scope;
end $$;

-- Changes after a number. Tombstones up to `p_no_tombstones_to` are left out.
create or replace function sync.changes_after(
  p_scope text, p_collection text, p_after bigint, p_no_tombstones_to bigint, p_limit integer
) returns setof sync.change language plpgsql stable security definer set search_path = '' set enable_seqscan = off rows 100 as $$
begin
  perform sync.require_reader(p_scope);
  return query
    select c.* from sync.change c
    where c.feed + 0 = (select f.number from sync.feed f where f.scope = p_scope and f.collection = p_collection)
      and c.seq > p_after
      and (not c.deleted or c.seq > p_no_tombstones_to)
    order by c.seq limit p_limit;
end $$;

-- What the index holds of single records.
create or replace function sync.entries(p_scope text, p_collection text, p_ids text[]) returns setof sync.change
language plpgsql stable security definer set search_path = '' set enable_seqscan = off rows 100 as $$
begin
  perform sync.require_reader(p_scope);
  return query
    select c.* from sync.change c
    where c.feed = (select f.number from sync.feed f where f.scope = p_scope and f.collection = p_collection)
      and c.id = any(p_ids);
end $$;

-- What the index holds of live records, in the order of their ids.
create or replace function sync.live_entries(p_scope text, p_collection text, p_after text, p_limit integer)
returns setof sync.change language plpgsql stable security definer set search_path = '' set enable_seqscan = off rows 100 as $$
begin
  perform sync.require_reader(p_scope);
  return query
    select c.* from sync.change c
    where c.feed = (select f.number from sync.feed f where f.scope = p_scope and f.collection = p_collection)
      and not c.deleted and c.id > coalesce(p_after, '')
    order by c.id limit p_limit;
end $$;

-- Microseconds since 1970. (Bodies with RETURN are bound to their names here and now, and can be inlined.)
create or replace function sync.micros(p_time timestamptz) returns bigint
language sql stable return (extract(epoch from p_time) * 1000000)::bigint;

-- One state as it is sent. A row that the policies hide is to the caller a deleted one.
create or replace function sync.state(p_id text, p_version bigint, p_changed_at timestamptz, p_stamp text, p_content json)
returns json language sql stable return
  json_build_object('id', p_id, 'v', p_version::text, 'at', sync.micros(p_changed_at), 'stamp', p_stamp,
    case when p_content is null then 'deleted' else 'row' end, coalesce(p_content, json 'true'));

-- The states of records that the index knows.
create or replace function sync.states(p_collection text, p_scope text, p_ids text[])
returns table (id text, state json) language plpgsql stable security invoker set search_path = '' rows 100 as $$
#variable_conflict use_column
begin
  return query with head as (select * from sync.head(p_scope)),
    known as materialized (select * from sync.entries(p_scope, p_collection, p_ids)),
    found as materialized (
      select * from sync.rows(p_collection, p_scope, array(select known.id from known where not known.deleted)))
  select known.id,
    sync.state(known.id, head.version_base + known.seq, known.changed_at, known.stamp, found.content)
  from known cross join head left join found on found.id = known.id;
end $$;

-- One page of changes. A cursor is `epoch:after` between passes, and `epoch:after:mark:first_tombstone` within a
-- first one, where `mark` is the head when the pass began. STABLE, so that every look is at one snapshot: whoever
-- holds a number above the head of that snapshot has not committed yet.
create or replace function sync.page(
  p_scope text, p_collection text, p_cursor text, p_limit integer, p_holds_nothing boolean
) returns json language plpgsql stable security invoker set search_path = '' as $$
declare
  head record;
  part text[] := string_to_array(p_cursor, ':');
  after bigint := 0;
  mark bigint;
  no_tombstones_to bigint := 0;
  page_size integer := least(greatest(coalesce(p_limit, 500), 1), 5000);
  changes json;
  found_number integer;
  last_seq bigint;
  more boolean;
begin
  perform sync.require_reader(p_scope);
  perform sync.described(p_collection);
  select * into head from sync.head(p_scope);
  if p_cursor is null then
    mark := head.seq;
    no_tombstones_to := case when p_holds_nothing then mark else 0 end;
  else
    if p_cursor !~ '^[0-9a-f-]{36}:[0-9]{1,18}(:[0-9]{1,18}:[0-9]{1,18})?$' then
      raise sqlstate 'PT409' using message = 'the cursor cannot be read', hint = 'resync';
    end if;
    after := part[2];
    mark := part[3];
    no_tombstones_to := coalesce(part[4]::bigint, 0);
    -- A first pass may cross numbers whose tombstones are gone, unless they are of deletes since it began.
    if part[1] <> head.epoch::text or greatest(after, mark) > head.seq or coalesce(mark, after) < head.floor then
      raise sqlstate 'PT409' using message = 'the cursor is no longer valid', hint = 'resync',
        detail = json_build_object('epoch', head.epoch, 'seq', head.seq, 'floor', head.floor)::text;
    end if;
  end if;

  with entry as materialized (
    select * from sync.changes_after(p_scope, p_collection, after, no_tombstones_to, page_size + 1)
  ), paged as materialized (
    select * from entry order by entry.seq limit page_size
  ), found as materialized (
    select * from sync.rows(p_collection, p_scope, array(select paged.id from paged where not paged.deleted))
  )
  select
    coalesce(json_agg(
      sync.state(paged.id, head.version_base + paged.seq, paged.changed_at, paged.stamp, found.content) order by paged.seq), '[]'),
    max(paged.seq), (select count(*) from entry)
  into changes, last_seq, found_number
  from paged left join found on found.id = paged.id;

  more := found_number > page_size;
  return json_build_object(
    'cursor', case
      when not more then format('%s:%s', head.epoch, head.seq)
      when mark is null then format('%s:%s', head.epoch, last_seq)
      else format('%s:%s:%s:%s', head.epoch, last_seq, mark, no_tombstones_to) end,
    'more', more, 'first', mark is not null, 'now', sync.micros(clock_timestamp()), 'changes', changes);
end $$;

-- One page of changes of a collection in a scope.
create or replace function public.sync_pull(
  p_scope text, p_collection text, p_cursor text default null, p_limit integer default 500,
  p_holds_nothing boolean default false
) returns json language plpgsql volatile security invoker set search_path = '' set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform sync.check_epoch();
  return sync.page(p_scope, p_collection, p_cursor, p_limit, p_holds_nothing);
end $$;

-- The states of records, in the order of `p_ids`; null where nothing is known.
create or replace function public.sync_get(p_scope text, p_collection text, p_ids jsonb) returns json
language plpgsql volatile security invoker set search_path = '' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  wanted text[];
begin
  perform sync.check_epoch();
  perform sync.require_reader(p_scope);
  select array_agg(w.id order by w.place) into wanted
  from jsonb_array_elements_text(p_ids) with ordinality w(id, place);
  if cardinality(wanted) > 5000 then
    raise sqlstate 'PT413' using message = 'more than 5000 ids', hint = 'fewer';
  end if;
  return (
    select json_build_object('now', sync.micros(clock_timestamp()),
      'states', coalesce(json_agg(s.state order by w.place), '[]'))
    from unnest(wanted) with ordinality w(id, place)
    left join sync.states(p_collection, p_scope, wanted) s on s.id = w.id);
end $$;

-- One page of ids with versions: those of live records that the caller may see.
create or replace function public.sync_list_ids(
  p_scope text, p_collection text, p_after text default null, p_limit integer default 1000
) returns json language plpgsql volatile security invoker set search_path = '' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  page_size integer := least(greatest(coalesce(p_limit, 1000), 1), 5000);
begin
  perform sync.check_epoch();
  return (
    with head as (select * from sync.head(p_scope)),
      entry as materialized (select * from sync.live_entries(p_scope, p_collection, p_after, page_size)),
      found as materialized (
        select * from sync.rows(p_collection, p_scope, array(select entry.id from entry)))
    select json_build_object(
      'ids', coalesce(
        json_agg(json_build_array(entry.id, (head.version_base + entry.seq)::text) order by entry.id)
          filter (where found.id is not null), '[]'),
      'next', case when count(*) = page_size then max(entry.id) end)
    from entry cross join head left join found on found.id = entry.id);
end $$;

-- What is installed, and the time. For the probe that finds out how to synchronize with a project.
create or replace function public.sync_status() returns json
language plpgsql volatile security definer set search_path = '' set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform sync.check_epoch();
  return (
    -- The format is that of the calls and their answers, which clients know.
    select json_build_object('format', 1, 'epoch', m.epoch, 'now', sync.micros(clock_timestamp()),
      'user', sync.caller(), 'max_page', 5000, 'max_push', 500, 'collections', (
        select coalesce(json_object_agg(c.name, json_build_object(
          'id', c.id_column, 'columns', c.columns, 'writable', c.writable) order by c.name), '{}')
        from sync.collection c))
    from sync.meta m);
end $$;

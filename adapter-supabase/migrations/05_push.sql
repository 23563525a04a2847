-- The change feed, 5 of 6: writing, as the caller, under the policies and constraints of the application.
--
-- An operation is {"op": uuid, "kind": "create"|"update"|"delete", "collection", "id", "base"?: version,
-- "row"?: the whole record, "fields"?: [names], "stamp"?}; its result is {"op", "st", ...} with st one of
-- applied, duplicate, conflict, missing, rejected, retry.

-- Operations that one statement can write, in arrays of one length: `entries` is where the index has their records.
-- And what came of the operation at a place, or of those from there on: their results, parted by commas.
do $$
begin
  if to_regtype('sync.step') is not null then
    -- Of an earlier version, with the functions that speak of it, and one that answered nothing.
    drop type sync.outcome, sync.step cascade;
    drop function if exists sync.lock_scope(text);
  end if;
  if to_regtype('sync.run') is null then
    create type sync.run as (
      collection text, kind text, columns text[], places integer[], op_ids uuid[], ids text[], contents jsonb[],
      stamps text[], entries tid[]);
    create type sync.outcome as (place integer, st text, results text);
  end if;
end $$;

-- Errors after which nothing is known to be wrong with any operation: the whole push is sent again.
create or replace function sync.is_transient(p_sqlstate text) returns boolean
language sql immutable return
  p_sqlstate in ('40001', '40P01', '55P03', '57014', 'PT500') or left(p_sqlstate, 2) in ('08', '53', '57', '58', 'XX');

create or replace function sync.rejected(p_code text, p_message text, p_field text default null) returns jsonb
language sql stable return
  jsonb_strip_nulls(jsonb_build_object('st', 'rejected', 'code', p_code, 'msg', p_message, 'field', p_field));

-- The result of an operation, of which `p_result` says all but whose it is.
create or replace function sync.outcome_of(p_place integer, p_op_id text, p_result jsonb) returns sync.outcome
language sql stable return
  row(p_place, p_result ->> 'st', (p_result || jsonb_build_object('op', p_op_id))::text)::sync.outcome;

-- One push at a time in a scope. Decisions made under the lock stay true until the commit, since whoever else
-- changes a row of the scope needs the lock before he can commit. Says whether the caller may write; if not, there
-- is no lock.
create or replace function sync.lock_scope(p_scope text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  if not sync.may_write(p_scope) then
    perform sync.require_reader(p_scope);
    return false;
  end if;
  perform 1 from sync.scope s where s.scope = p_scope for update;
  if not found then
    insert into sync.scope (scope) values (p_scope) on conflict do nothing;
    perform 1 from sync.scope s where s.scope = p_scope for update;
  end if;
  return true;
end $$;

-- The columns that an operation names.
create or replace function sync.columns_of(p_op jsonb, p_kind text) returns text[]
language plpgsql immutable set search_path = '' as $$
begin
  if p_kind = 'update' then
    return array(select jsonb_array_elements_text(p_op -> 'fields'));
  elsif p_kind in ('create', 'replace') then
    return array(select jsonb_object_keys(p_op -> 'row'));
  end if;
  return null;
end $$;

-- (A plan may be kept from when a table was small, so functions that look up many rows one by one must not scan.)
-- What is to become of each operation: runs of those that are to be applied, in their order, and the results of the
-- others. The kind of a run says how it is applied: create, update, replace, delete, or raise for the delete of what is
-- deleted; `columns` are those it names. A replaced record gets the defaults of the columns that it does not have.
-- Only nested loops join here: they keep the operations in their order.
create or replace function sync.decide(p_scope text, p_ops jsonb, out todo sync.run[], out decided sync.outcome[])
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  caller text := sync.caller();
  base_of_versions bigint := (select m.version_base from sync.meta m);
  first_op jsonb := p_ops -> 0;
  first_collection text := first_op ->> 'collection';
  first_fields jsonb := first_op -> 'fields';
  first_keys text[] := case when jsonb_typeof(first_op -> 'row') = 'object' then sync.columns_of(first_op, 'create') end;
  seek_repeated boolean := false;
  ids text[];
  alike boolean;
  kinds text[];
  run sync.run;
begin
  loop
    with op as (
      select o.place::integer, o.item ->> 'collection' as collection, o.item ->> 'kind' as kind,
        o.item ->> 'id' as id, (o.item ->> 'op')::uuid as op_id, (o.item ->> 'base')::bigint - base_of_versions as base,
        case when jsonb_typeof(o.content) = 'object' then o.content end as content,
        case when jsonb_typeof(o.fields) = 'array' then o.fields end as fields, o.item ->> 'stamp' as stamp
      from (
        select u.item, u.place, u.item -> 'row' as content, u.item -> 'fields' as fields
        from jsonb_array_elements(p_ops) with ordinality u(item, place) offset 0) o
      offset 0
    ), repeated as (
      select u.item ->> 'collection' as collection, u.item ->> 'id' as id, min(u.place) as first_place
      from jsonb_array_elements(p_ops) with ordinality u(item, place)
      where seek_repeated group by 1, 2 having count(*) > 1
    ), sent as (
      select op.*, t.columns as readable, t.column_list, t.id_column::text, c.seq, c.deleted, c.entry, a.seq as applied_seq,
        op.place > repeated.first_place as repeats
      from op
      left join (
        select t.*, to_jsonb(t.columns) as column_list, f.number as feed
        from sync.collection t left join sync.feed f on f.scope = p_scope and f.collection = t.name offset 0
      ) t on t.name = op.collection
      left join repeated on repeated.collection = op.collection and repeated.id = op.id
      -- OFFSET 0 keeps these look-ups by index, whatever the statistics say.
      left join lateral (
        select c.seq, c.deleted, c.ctid as entry from sync.change c
        where c.feed = t.feed and c.id = op.id offset 0) c on true
      -- An operation that took effect has left its record at a later number than its base.
      left join lateral (
        select a.seq from sync.applied a
        where (op.base is null or op.base <> c.seq or c.seq is null) and a.op_id = op.op_id and a.user_id = caller offset 0) a on true
    ), judged as (
      select sent.*,
        case
          when sent.applied_seq is not null then
            jsonb_build_object('st', 'duplicate', 'v', (base_of_versions + sent.applied_seq)::text)
          when sent.readable is null then sync.rejected('unknown_collection', 'the server synchronizes no such collection')
          when sent.kind is null or sent.kind not in ('create', 'update', 'delete') then
            sync.rejected('unknown_kind', 'the kind of the operation is not known')
          when sent.id is null then sync.rejected('no_id', 'the operation has no id')
          when sent.repeats then
            sync.rejected('repeated_record', 'a push has at most one operation for each record')
          when sent.kind <> 'delete' and sent.content is null then
            sync.rejected('no_row', 'the operation has no record')
          when sent.kind <> 'delete' and (sent.content - sent.readable <> '{}' or not sent.fields <@ sent.column_list) then
            sync.rejected('unknown_field', 'the server has no such field', (
              select min(f.name)
              from (
                select jsonb_object_keys(sent.content) as name union select jsonb_array_elements_text(sent.fields)) f
              where f.name <> all(sent.readable)))
          when sent.seq is null and sent.kind = 'create' then null
          when sent.seq is null then '{"st": "missing"}'::jsonb
          when sent.kind = 'create' and sent.deleted and sent.base = sent.seq then null
          when sent.kind = 'create' then '{"st": "conflict"}'::jsonb
          when sent.kind = 'update' and sent.deleted then '{"st": "conflict"}'::jsonb
          when sent.base is null or sent.base = sent.seq then null
          else '{"st": "conflict"}'::jsonb
        end as verdict,
        case
          when sent.kind = 'delete' and sent.deleted then 'raise'
          when sent.kind = 'update' and sent.fields is null then 'replace'
          else sent.kind
        end as way
      -- OFFSET 0, so that each is worked out once.
      from sent offset 0
    )
    select
      array[row(first_collection, null, null,
        array_agg(judged.place) filter (where judged.verdict is null),
        array_agg(judged.op_id) filter (where judged.verdict is null),
        array_agg(judged.id) filter (where judged.verdict is null),
        array_agg(case when judged.content ->> judged.id_column = judged.id then judged.content
          else judged.content || jsonb_build_object(judged.id_column, judged.id) end) filter (where judged.verdict is null),
        array_agg(judged.stamp) filter (where judged.verdict is null),
        array_agg(judged.entry) filter (where judged.verdict is null))::sync.run],
      array_agg(judged.way) filter (where judged.verdict is null),
      array_agg(sync.outcome_of(judged.place, judged.op_id::text, judged.verdict)) filter (where judged.verdict is not null),
      -- Null where the first names no columns, as a delete does; bool_and would pass over that.
      bool_and(coalesce(judged.collection = first_collection and case judged.way
        when 'update' then judged.fields = first_fields
        when 'delete' then true
        when 'raise' then true
        else judged.content ?& first_keys and judged.content - first_keys = '{}' end, false)),
      array_agg(judged.id)
    into todo, kinds, decided, alike, ids from judged;
    exit when seek_repeated;
    -- Which is rare: then each is decided once more, with an eye on it.
    seek_repeated := exists (select from (select unnest(ids) as id) u group by u.id having count(*) > 1);
    exit when not seek_repeated;
  end loop;
  run := todo[1];
  if run.places is null then
    todo := null;
    return;
  elsif alike and kinds[1] = all(kinds) then
    run.kind := kinds[1];
    run.columns := sync.columns_of(first_op, run.kind);
    todo := array[run];
    return;
  end if;
  with step as (
    select u.*, op.item ->> 'collection' as collection, sync.columns_of(op.item, u.kind) as columns
    from unnest(run.places, kinds, run.op_ids, run.ids, run.contents, run.stamps, run.entries)
      u(place, kind, op_id, id, content, stamp, entry)
    cross join lateral (select p_ops -> (u.place - 1) as item) op
  ), marked as (
    select step.*, (step.collection, step.kind, step.columns) is distinct from
      lag((step.collection, step.kind, step.columns)) over (order by step.place) as starts
    from step
  ), numbered as (
    select marked.*, count(*) filter (where marked.starts) over (order by marked.place) as run_number from marked
  )
  select array_agg(r.run order by r.run_number) into todo
  from (
    select n.run_number, row(n.collection, n.kind, n.columns, array_agg(n.place order by n.place),
      array_agg(n.op_id order by n.place), array_agg(n.id order by n.place), array_agg(n.content order by n.place),
      array_agg(n.stamp order by n.place), array_agg(n.entry order by n.place))::sync.run as run
    from numbered n group by n.run_number, n.collection, n.kind, n.columns) r;
end $$;

-- After a write that took effect: keeps the operation ids, and gives the results with the new versions. `p_before` was
-- the number of the scope before the write: each operation must have got a later one from the triggers, with its stamp.
-- `p_ids` are the records that the write reached, `p_contents` what their rows hold now; an operation that was stored
-- as it was sent is not told it again.
create or replace function sync.settle(
  p_scope text, p_run sync.run, p_before bigint, p_ids text[], p_contents json[]
) returns sync.outcome[]
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off as $$
#variable_conflict use_column
declare
  caller text := sync.caller();
  sent integer := cardinality(p_run.ids);
  noted text[] := nullif(current_setting('sync.pushed_noted', true), '');
  base_of_versions bigint;
  readable text[];
  head bigint;
  numbers bigint[];
  times bigint[];
  contents json[] := p_contents;
  number_reached bigint := sent;
  number_noted bigint := sent;
  results text[];
begin
  if not sync.may_write(p_scope) then
    raise sqlstate 'PT403' using message = 'the caller may not write the scope', hint = 'read_only';
  end if;
  select m.version_base, t.columns, s.seq into base_of_versions, readable, head
  from sync.meta m, sync.collection t, sync.scope s where t.name = p_run.collection and s.scope = p_scope;
  if noted[1] = p_scope and noted[2] = p_before::text and head = p_before + sent and p_ids = p_run.ids then
    -- As nearly always: the records were written and numbered in the order of the operations, and nothing else was.
    numbers := array(select generate_series(p_before + 1, head));
    times := array_fill(sync.micros(noted[3]::timestamptz), array[sent]);
  else
    select array_agg(change.seq order by step.place), array_agg(sync.micros(change.changed_at) order by step.place),
      array_agg(stored.content order by step.place), count(stored.id), count(change.seq)
    into numbers, times, contents, number_reached, number_noted
    from unnest(p_run.ids, p_run.stamps) with ordinality step(id, stamp, place)
    left join unnest(p_ids, p_contents) stored(id, content) on stored.id = step.id
    left join (
      select c.id, c.seq, c.changed_at, c.stamp from sync.change c
      where c.feed + 0 = (
          select f.number from sync.feed f where f.scope = p_scope and f.collection = p_run.collection)
        and c.seq > p_before
    ) change on change.id = step.id and change.stamp is not distinct from step.stamp;
  end if;
  if number_reached < sent then
    raise insufficient_privilege using
      message = 'the write did not reach the record: a policy hides it, it would leave the scope, or its id is not in canonical form';
  end if;
  if number_noted < sent then
    raise sqlstate 'PT500' using message = format('the triggers of collection %L did not note the write', p_run.collection),
      hint = 'run the migration again, then select sync.reconcile(...)';
  end if;
  insert into sync.applied (user_id, op_id, seq)
    select caller, unnest(p_run.op_ids), unnest(numbers);
  -- Put together as texts, which hold nothing that JSON would escape: that takes half as long as json_build_object.
  results := array(
    select concat('{"op":"', u.op_id, '","st":"applied","v":"', base_of_versions + u.seq, '","at":', u.at,
      case when u.told then ',"row":' end, case when u.told then u.stored end, '}')
    from (
      select u.*, u.stored is not null and not (u.content ?& readable and u.stored::jsonb = u.content) as told
      from (
        select unnest(p_run.op_ids) as op_id, unnest(numbers) as seq, unnest(times) as at,
          unnest(p_run.contents) as content, unnest(contents) as stored) u
      offset 0) u);
  if p_run.places[sent] - p_run.places[1] = sent - 1 then
    -- No other operation is between them.
    return array[row(p_run.places[1], 'applied', array_to_string(results, ','))::sync.outcome];
  end if;
  return array(
    select row(u.place, 'applied', u.result)::sync.outcome from unnest(p_run.places, results) u(place, result));
end $$;

-- The delete of what is deleted: nothing changes but the tombstone's version and stamp.
create or replace function sync.raise_tombstones(p_scope text, p_collection text, p_ids text[]) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  if not sync.may_write(p_scope) then
    raise sqlstate 'PT403' using message = 'the caller may not write the scope', hint = 'read_only';
  end if;
  perform sync.note(p_collection, array_agg(p_scope), array_agg(c.id), array_agg(true))
  from sync.feed f join sync.change c on c.feed = f.number
  where f.scope = p_scope and f.collection = p_collection and c.id = any(p_ids) and c.deleted;
end $$;

-- The records of $1 as rows of the table. A populated record in FROM would be kept in a store of its own, each anew. The
-- number of records is hidden from the planner, which would read all of a table to find a few hundred of them.
create or replace function sync.sent_rows(p_registered sync.collection) returns text
language plpgsql stable set search_path = '' as $$
begin
  return format('(select jsonb_populate_record(null::%s, unnest((select $1))) as r offset 0) s', p_registered.relation);
end $$;

-- What a written row t holds, as it is told.
create or replace function sync.told_content(p_registered sync.collection) returns text
language plpgsql stable set search_path = '' as $$
begin
  return format('(select to_json(c) from (select %s) c)',
    (select string_agg(format('t.%I', name), ', ') from unnest(p_registered.columns) name));
end $$;

-- The statement that sets columns to what the records of $1 have, in the scope $2. Those that are not named get their
-- defaults if the record is replaced. An update of no column is still a write: it sets the id to what it is.
create or replace function sync.update_statement(p_registered sync.collection, p_columns text[], p_replace boolean)
returns text language plpgsql stable set search_path = '' as $$
begin
  return format(
    'with source as (select (s.r).%1$I as sync_id%2$s from %3$s),
     made as (update %4$s t set %5$s from source where t.%1$I = source.sync_id
       returning t.%1$I::text as id, (%6$s)::text as scope, %7$s as content)
     select array_agg(made.id), array_agg(made.content) from made where made.scope = $2',
    p_registered.id_column,
    (select string_agg(format(', (s.r).%I as sync_%s', name, place), '') from unnest(p_columns) with ordinality u(name, place)),
    sync.sent_rows(p_registered), p_registered.relation,
    coalesce(nullif(concat_ws(', ',
      (select string_agg(format('%I = source.sync_%s', name, place), ', ') from unnest(p_columns) with ordinality u(name, place)),
      case when p_replace then (
        select string_agg(format('%I = default', name), ', ') from unnest(p_registered.writable) name
        where name <> p_registered.id_column and name <> all(p_columns)) end),
      ''), format('%I = source.sync_id', p_registered.id_column)),
    p_registered.scope_expression, sync.told_content(p_registered));
end $$;

-- Makes the function that updates one column of a collection's records, as the caller. Most updates are such, and
-- PL/pgSQL keeps the plan of each column; the statement for other columns is planned anew each time.
create or replace function sync.make_update(p_collection text) returns void
language plpgsql set search_path = '' as $$
declare
  registered sync.collection := sync.described(p_collection);
  body text;
begin
  select string_agg(format(E'if p_column = %L then\n  return query %s;\n  return;\nend if;',
    name, sync.update_statement(registered, array[name], false)), E'\n')
  into body
  from unnest(registered.writable) name where name <> registered.id_column;
  execute format(
    'create or replace function sync.%1$I(p_contents jsonb[], p_scope text, p_column text)
     returns table (ids text[], contents json[])
     language plpgsql volatile security invoker rows 1 set search_path = '''' as %2$L;
     revoke execute on function sync.%1$I(jsonb[], text, text) from public, anon;
     grant execute on function sync.%1$I(jsonb[], text, text) to authenticated, service_role',
    'update_' || p_collection, concat_ws(E'\n', '#variable_conflict use_column', 'begin', body,
      'raise exception ''the column % is not one of the collection'', p_column;', 'end'));
end $$;

-- Writes a run in one statement, or fails.
create or replace function sync.write(p_scope text, p_run sync.run) returns sync.outcome[]
language plpgsql volatile security invoker set search_path = '' as $$
declare
  registered sync.collection := sync.described(p_run.collection);
  -- Read-only columns are left aside.
  written_columns text[] := array(
    select name from unnest(registered.writable) name where name = any(p_run.columns) and name <> registered.id_column);
  before bigint := (sync.head(p_scope)).seq;
  setting text;
  written text[];
  contents json[];
begin
  -- Assignments, which need no statement as PERFORM does.
  setting := set_config('sync.pushed', p_run.collection, true);
  setting := set_config('sync.pushed_ids', p_run.ids::text, true);
  setting := set_config('sync.pushed_stamps', p_run.stamps::text, true);
  setting := set_config('sync.pushed_entries', p_run.entries::text, true);
  setting := set_config('sync.pushed_noted', '', true);
  setting := set_config('sync.captured', '', true);
  case p_run.kind
    when 'create' then
      execute format(
        'with made as (insert into %1$s as t (%2$s) select %3$s from %4$s
           returning t.%5$I::text as id, (%6$s)::text as scope, %7$s as content)
         select array_agg(made.id), array_agg(made.content) from made where made.scope = $2',
        registered.relation,
        (select string_agg(quote_ident(name), ', ')
         from unnest(written_columns || array[registered.id_column, registered.fill_column]::text[]) name where name is not null),
        (select string_agg(format('(s.r).%I', name), ', ') from unnest(written_columns || registered.id_column::text) name)
          || case when registered.fill_column is null then '' else ', $2' end,
        sync.sent_rows(registered), registered.id_column, registered.scope_expression, sync.told_content(registered))
      into written, contents using p_run.contents, p_scope;
    when 'update', 'replace' then
      -- A plan that is kept from when a table was small would read all of it once it is large.
      if p_run.kind = 'update' and cardinality(written_columns) = 1
        and (select c.reltuples >= 10000 from pg_class c where c.oid = registered.relation) then
        execute format('select u.ids, u.contents from sync.%I($1, $2, $3) u', 'update_' || p_run.collection)
        into written, contents using p_run.contents, p_scope, written_columns[1];
      else
        execute sync.update_statement(registered, written_columns, p_run.kind = 'replace')
        into written, contents using p_run.contents, p_scope;
      end if;
    when 'delete' then
      execute format(
        'with gone as (delete from %1$s where %2$I = any($1::%3$s[]) and (%4$s)::text = $2 returning %2$I::text as id)
         select array_agg(gone.id) from gone',
        registered.relation, registered.id_column, registered.id_type, registered.scope_expression)
      into written using p_run.ids, p_scope;
    when 'raise' then
      perform sync.raise_tombstones(p_scope, p_run.collection, p_run.ids);
      written := p_run.ids;
  end case;
  setting := set_config('sync.pushed', '', true);
  if contents is not null and (sync.head(p_scope)).seq <> before + cardinality(p_run.ids) then
    -- Triggers of the application wrote more than the statement did, perhaps to the very rows.
    select array_agg(w.id), array_agg(r.content) into written, contents
    from unnest(written) w(id) left join sync.rows(p_run.collection, p_scope, p_run.ids) r on r.id = w.id;
  end if;
  return sync.settle(p_scope, p_run, before, written, contents);
end $$;

-- A part of a run.
create or replace function sync.part_of(p_run sync.run, p_from integer, p_to integer) returns sync.run
language sql immutable return row(p_run.collection, p_run.kind, p_run.columns, p_run.places[p_from:p_to],
  p_run.op_ids[p_from:p_to], p_run.ids[p_from:p_to], p_run.contents[p_from:p_to], p_run.stamps[p_from:p_to],
  p_run.entries[p_from:p_to])::sync.run;

-- Writes a run: as a whole if that works, else each half by itself, down to the operations at fault.
create or replace function sync.write_run(p_scope text, p_run sync.run) returns sync.outcome[]
language plpgsql volatile security invoker set search_path = '' as $$
declare
  number integer := cardinality(p_run.ids);
  half integer := number / 2;
  state text;
  message text;
  named_column text;
  named_constraint text;
begin
  begin
    return sync.write(p_scope, p_run);
  exception when others then
    get stacked diagnostics state = returned_sqlstate, message = message_text, named_column = column_name,
      named_constraint = constraint_name;
    if sync.is_transient(state) then
      raise;
    end if;
  end;
  if half = 0 then
    return array[sync.outcome_of(p_run.places[1], p_run.op_ids[1]::text,
      sync.rejected(state, message, coalesce(nullif(named_column, ''), nullif(named_constraint, ''))))];
  end if;
  return sync.write_run(p_scope, sync.part_of(p_run, 1, half))
    || sync.write_run(p_scope, sync.part_of(p_run, half + 1, number));
end $$;

-- Writes runs in their order.
create or replace function sync.write_all(p_scope text, p_runs sync.run[]) returns sync.outcome[]
language plpgsql volatile security invoker set search_path = '' as $$
declare
  run sync.run;
  outcomes sync.outcome[] := '{}';
begin
  foreach run in array p_runs loop
    outcomes := outcomes || sync.write_run(p_scope, run);
  end loop;
  return outcomes;
end $$;

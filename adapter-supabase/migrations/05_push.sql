-- The change feed, 5 of 6: writing, as the caller, under the policies and constraints of the application.
--
-- An operation is {"op": uuid, "kind": "create"|"update"|"delete", "collection", "id", "base"?: version,
-- "row"?: the whole record, "fields"?: [names], "stamp"?}; its result is {"op", "st", ...} with st one of
-- applied, duplicate, conflict, missing, rejected, retry.

-- One operation that is to be applied, with its record's entry in the index, and the result of one, whose kind is told
-- beside it.
do $$
begin
  if to_regtype('sync.step') is not null and not exists (
    select 1 from pg_attribute a join pg_type t on t.typrelid = a.attrelid
    where t.oid = to_regtype('sync.step') and a.attname = 'entry') then
    -- Of an earlier version, with the functions that speak of it, and one that answered nothing.
    drop type sync.outcome, sync.step cascade;
    drop function if exists sync.lock_scope(text);
  end if;
  if to_regtype('sync.step') is null then
    create type sync.step as (
      place integer, op_id uuid, collection text, kind text, id text, columns text[], content jsonb, stamp text, entry tid);
    create type sync.outcome as (place integer, st text, result json);
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
  row(p_place, p_result ->> 'st', (p_result || jsonb_build_object('op', p_op_id))::json)::sync.outcome;

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

-- (A plan may be kept from when a table was small, so functions that look up many rows one by one must not scan.)
-- What is to become of each operation: those that are to be applied, and the results of the others. The kind of a step
-- says how it is applied: create, update, replace, delete, or raise for the delete of what is deleted; `columns` are
-- those it names. A replaced record gets the defaults of the columns that it does not have. `alike` says that one statement
-- can write all that is to be applied.
create or replace function sync.decide(
  p_scope text, p_ops jsonb, out todo sync.step[], out decided sync.outcome[], out alike boolean)
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
#variable_conflict use_column
declare
  caller text := sync.caller();
  base_of_versions bigint := (select m.version_base from sync.meta m);
begin
  with op as materialized (
    select o.place::integer, o.item ->> 'collection' as collection, o.item ->> 'kind' as kind,
      o.item ->> 'id' as id, (o.item ->> 'op')::uuid as op_id, (o.item ->> 'base')::bigint - base_of_versions as base,
      case when jsonb_typeof(o.content) = 'object' then o.content end as content,
      case when jsonb_typeof(o.fields) = 'array' then array(select jsonb_array_elements_text(o.fields)) end as fields,
      o.item ->> 'stamp' as stamp
    from (
      select u.item, u.place, u.item -> 'row' as content, u.item -> 'fields' as fields
      from jsonb_array_elements(p_ops) with ordinality u(item, place) offset 0) o
  ), repeated as (
    select op.collection, op.id, min(op.place) as first_place from op group by op.collection, op.id having count(*) > 1
  ), sent as (
    select op.*, t.columns as readable, t.id_column::text, c.seq, c.deleted, c.entry, a.seq as applied_seq,
      op.place > repeated.first_place as repeats
    from op
    left join (
      select t.*, f.number as feed
      from sync.collection t left join sync.feed f on f.scope = p_scope and f.collection = t.name
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
        when sent.kind <> 'delete' and (sent.content - sent.readable <> '{}' or not sent.fields <@ sent.readable) then
          sync.rejected('unknown_field', 'the server has no such field', (
            select min(f.name)
            from (select jsonb_object_keys(sent.content) as name union select unnest(sent.fields)) f
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
      end as way,
      case
        when sent.kind = 'update' and sent.fields is not null then sent.fields
        when sent.kind <> 'delete' then array(select jsonb_object_keys(sent.content))
      end as columns
    -- OFFSET 0, so that each is worked out once.
    from sent offset 0
  )
  select
    array_agg(row(judged.place, judged.op_id, judged.collection, judged.way, judged.id, judged.columns,
      case when judged.content ->> judged.id_column = judged.id then judged.content
        else judged.content || jsonb_build_object(judged.id_column, judged.id) end,
      judged.stamp, judged.entry)::sync.step) filter (where judged.verdict is null),
    array_agg(sync.outcome_of(judged.place, judged.op_id::text, judged.verdict)) filter (where judged.verdict is not null),
    min(judged.collection || ' ' || judged.way || coalesce(judged.columns::text, '')) filter (where judged.verdict is null)
      = max(judged.collection || ' ' || judged.way || coalesce(judged.columns::text, '')) filter (where judged.verdict is null)
  into todo, decided, alike from judged;
end $$;

-- After a write that took effect: keeps the operation ids, and gives the results with the new versions. `p_before` was
-- the number of the scope before the write: each step must have got a later one from the triggers, with its stamp.
-- `p_ids` are the records that the write reached, `p_contents` what their rows hold now; a step that was stored as it
-- was sent is not told it again.
drop function if exists sync.settle(text, text, bigint, sync.step[], text[], jsonb[]);
create or replace function sync.settle(
  p_scope text, p_collection text, p_before bigint, p_steps sync.step[], p_ids text[], p_contents json[]
) returns sync.outcome[]
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off as $$
#variable_conflict use_column
declare
  caller text := sync.caller();
  sent integer := cardinality(p_steps);
  noted text[] := nullif(current_setting('sync.pushed_noted', true), '');
  base_of_versions bigint;
  readable text[];
  head bigint;
  numbers bigint[];
  times bigint[];
  contents json[] := p_contents;
  number_reached bigint := sent;
  number_noted bigint := sent;
  outcomes sync.outcome[];
begin
  if not sync.may_write(p_scope) then
    raise sqlstate 'PT403' using message = 'the caller may not write the scope', hint = 'read_only';
  end if;
  select m.version_base, t.columns, s.seq into base_of_versions, readable, head
  from sync.meta m, sync.collection t, sync.scope s where t.name = p_collection and s.scope = p_scope;
  if noted[1] = p_scope and noted[2] = p_before::text and head = p_before + sent
    and p_ids::text = current_setting('sync.pushed_ids') then
    -- As nearly always: the records were written and numbered in the order of the steps, and nothing else was.
    numbers := array(select generate_series(p_before + 1, head));
    times := array_fill(sync.micros(noted[3]::timestamptz), array[sent]);
  else
    select array_agg(change.seq order by step.ordinal), array_agg(sync.micros(change.changed_at) order by step.ordinal),
      array_agg(stored.content order by step.ordinal), count(stored.id), count(change.seq)
    into numbers, times, contents, number_reached, number_noted
    from unnest(p_steps) with ordinality
      step(place, op_id, collection, kind, id, columns, content, stamp, entry, ordinal)
    left join unnest(p_ids, p_contents) stored(id, content) on stored.id = step.id
    left join (
      select c.id, c.seq, c.changed_at, c.stamp from sync.change c
      where c.feed + 0 = (select f.number from sync.feed f where f.scope = p_scope and f.collection = p_collection)
        and c.seq > p_before
    ) change on change.id = step.id and change.stamp is not distinct from step.stamp;
  end if;
  if number_reached < sent then
    raise insufficient_privilege using
      message = 'the write did not reach the record: a policy hides it, it would leave the scope, or its id is not in canonical form';
  end if;
  if number_noted < sent then
    raise sqlstate 'PT500' using message = format('the triggers of collection %L did not note the write', p_collection),
      hint = 'run the migration again, then select sync.reconcile(...)';
  end if;
  with settled as materialized (
    select u.place, u.op_id, u.seq, u.at,
      case when u.stored is null or u.content ?& readable and u.stored::jsonb = u.content then '}'
        else ',"row":' || u.stored || '}' end as told
    from unnest(p_steps, numbers, times, contents)
      u(place, op_id, collection, kind, id, columns, content, stamp, entry, seq, at, stored)
  ), kept as (
    insert into sync.applied (user_id, op_id, seq) select caller, settled.op_id, settled.seq from settled
  )
  -- Put together as texts, which hold nothing that JSON would escape: that takes half as long as json_build_object.
  select array_agg(row(settled.place, 'applied', ('{"op":"' || settled.op_id || '","st":"applied","v":"'
      || base_of_versions + settled.seq || '","at":' || settled.at || settled.told)::json)::sync.outcome)
  into outcomes from settled;
  return outcomes;
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

-- Writes steps of one kind on one collection with the same columns, all in one statement, or fails.
create or replace function sync.write(
  p_scope text, p_collection text, p_kind text, p_columns text[], p_steps sync.step[]
) returns sync.outcome[] language plpgsql volatile security invoker set search_path = '' as $$
declare
  registered sync.collection := sync.described(p_collection);
  -- Read-only columns are left aside.
  written_columns text[] := array(
    select name from unnest(registered.writable) name where name = any(p_columns) and name <> registered.id_column);
  before bigint := (sync.head(p_scope)).seq;
  ids text[];
  sent jsonb[];
  stamps text[];
  entries tid[];
  setting text;
  written text[];
  contents json[];
  -- A populated record in FROM would be kept in a store of its own, each anew. The number of steps is hidden from the
  -- planner, which would read all of a table to find a few hundred records.
  source text := format(
    '(select jsonb_populate_record(null::%s, content) as r from unnest((select $1)) content offset 0) s',
    registered.relation);
  content text := format('(select to_json(c) from (select %s) c)',
    (select string_agg(format('t.%I', name), ', ') from unnest(registered.columns) name));
begin
  select array_agg(step.id), array_agg(step.content), array_agg(step.stamp), array_agg(step.entry)
  into ids, sent, stamps, entries from unnest(p_steps) step;
  -- Assignments, which need no statement as PERFORM does.
  setting := set_config('sync.pushed', p_collection, true);
  setting := set_config('sync.pushed_ids', ids::text, true);
  setting := set_config('sync.pushed_stamps', stamps::text, true);
  setting := set_config('sync.pushed_entries', entries::text, true);
  setting := set_config('sync.pushed_noted', '', true);
  case p_kind
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
        source, registered.id_column, registered.scope_expression, content)
      into written, contents using sent, p_scope;
    when 'update', 'replace' then
      execute format(
        'with source as (select (s.r).%1$I as sync_id%2$s from %3$s),
         made as (update %4$s t set %5$s from source where t.%1$I = source.sync_id
           returning t.%1$I::text as id, (%6$s)::text as scope, %7$s as content)
         select array_agg(made.id), array_agg(made.content) from made where made.scope = $2',
        registered.id_column,
        (select string_agg(format(', (s.r).%I as sync_%s', name, place), '') from unnest(written_columns) with ordinality u(name, place)),
        source, registered.relation,
        -- An update of no column is still a write: it sets the id to what it is.
        coalesce(nullif(concat_ws(', ',
          (select string_agg(format('%I = source.sync_%s', name, place), ', ') from unnest(written_columns) with ordinality u(name, place)),
          case when p_kind = 'replace' then (
            select string_agg(format('%I = default', name), ', ') from unnest(registered.writable) name
            where name <> registered.id_column and name <> all(written_columns)) end),
          ''), format('%I = source.sync_id', registered.id_column)),
        registered.scope_expression, content)
      into written, contents using sent, p_scope;
    when 'delete' then
      execute format(
        'with gone as (delete from %1$s where %2$I = any($1::%3$s[]) and (%4$s)::text = $2 returning %2$I::text as id)
         select array_agg(gone.id) from gone',
        registered.relation, registered.id_column, registered.id_type, registered.scope_expression)
      into written using ids, p_scope;
    when 'raise' then
      perform sync.raise_tombstones(p_scope, p_collection, ids);
      written := ids;
  end case;
  setting := set_config('sync.pushed', '', true);
  if contents is not null and (sync.head(p_scope)).seq <> before + cardinality(ids) then
    -- Triggers of the application wrote more than the statement did, perhaps to the very rows.
    select array_agg(w.id), array_agg(r.content) into written, contents
    from unnest(written) w(id) left join sync.rows(p_collection, p_scope, ids) r on r.id = w.id;
  end if;
  return sync.settle(p_scope, p_collection, before, p_steps, written, contents);
end $$;

-- Writes a run of steps: as a whole if that works, else each half by itself, down to the ones at fault.
create or replace function sync.write_run(
  p_scope text, p_collection text, p_kind text, p_columns text[], p_steps sync.step[]
) returns sync.outcome[] language plpgsql volatile security invoker set search_path = '' as $$
declare
  half integer := cardinality(p_steps) / 2;
  state text;
  message text;
  named_column text;
  named_constraint text;
begin
  begin
    return sync.write(p_scope, p_collection, p_kind, p_columns, p_steps);
  exception when others then
    get stacked diagnostics state = returned_sqlstate, message = message_text, named_column = column_name,
      named_constraint = constraint_name;
    if sync.is_transient(state) then
      raise;
    end if;
  end;
  if half = 0 then
    return array[sync.outcome_of(p_steps[1].place, p_steps[1].op_id::text,
      sync.rejected(state, message, coalesce(nullif(named_column, ''), nullif(named_constraint, ''))))];
  end if;
  return sync.write_run(p_scope, p_collection, p_kind, p_columns, p_steps[:half])
    || sync.write_run(p_scope, p_collection, p_kind, p_columns, p_steps[half + 1:]);
end $$;

-- Writes steps in their order, in runs that one statement can write; `p_alike` if they all are one.
create or replace function sync.write_all(p_scope text, p_steps sync.step[], p_alike boolean) returns sync.outcome[]
language plpgsql volatile security invoker set search_path = '' as $$
declare
  run record;
  outcomes sync.outcome[] := '{}';
begin
  if p_alike then
    return sync.write_run(p_scope, p_steps[1].collection, p_steps[1].kind, p_steps[1].columns, p_steps);
  end if;
  for run in
    with marked as (
      select step, (step.collection, step.kind, step.columns) is distinct from
        lag((step.collection, step.kind, step.columns)) over (order by step.place) as starts
      from unnest(p_steps) step
    ), numbered as (
      select marked.step, count(*) filter (where marked.starts) over (order by (marked.step).place) as run_number
      from marked
    )
    select array_agg(n.step order by (n.step).place) as steps from numbered n group by n.run_number order by n.run_number
  loop
    outcomes := outcomes || sync.write_run(
      p_scope, run.steps[1].collection, run.steps[1].kind, run.steps[1].columns, run.steps);
  end loop;
  return outcomes;
end $$;

-- The change feed, 6 of 6: pushing, pokes, upkeep, and who may call what.

-- Applies operations of one scope, one result for each in their order. With `p_atomic` all take effect or none.
create or replace function public.sync_push(p_scope text, p_ops jsonb, p_atomic boolean default false) returns json
language plpgsql volatile security invoker set search_path = '' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  todo sync.run[];
  decided sync.outcome[];
  written sync.outcome[] := '{}';
begin
  if jsonb_typeof(p_ops) is distinct from 'array' then
    raise sqlstate 'PT400' using message = 'the operations are not an array';
  end if;
  if jsonb_array_length(p_ops) > 500 then
    raise sqlstate 'PT413' using message = 'more than 500 operations', hint = 'fewer';
  end if;
  perform sync.check_epoch();
  if not sync.lock_scope(p_scope) then
    return sync.push_answer('{}', array(
      select sync.outcome_of(o.place::integer, o.item ->> 'op',
        sync.rejected('read_only', 'the caller may read the scope, not write it'))
      from jsonb_array_elements(p_ops) with ordinality o(item, place)));
  end if;
  select d.todo, d.decided into todo, decided from sync.decide(p_scope, p_ops) d;

  if p_atomic and sync.any_other(decided, 'duplicate') then
    written := sync.none_applied(todo, '{}');
  elsif todo is not null then
    begin
      written := sync.write_all(p_scope, todo);
      -- Now rather than at the commit, when nobody could say any more whose fault it is.
      set constraints all immediate;
      if p_atomic and sync.any_other(written, 'applied') then
        raise sqlstate 'PT422';
      end if;
    exception
      when sqlstate 'PT422' then
        written := sync.none_applied(todo, written);
      when integrity_constraint_violation then
        -- A deferred constraint: once more, each checked at once.
        begin
          set constraints all immediate;
          written := sync.write_all(p_scope, todo);
          if p_atomic then
            raise sqlstate 'PT422';
          end if;
        exception when sqlstate 'PT422' then
          written := sync.none_applied(todo, written);
        end;
    end;
  end if;
  return sync.push_answer(sync.with_current(p_scope, p_ops, decided), written);
end $$;

create or replace function sync.any_other(p_outcomes sync.outcome[], p_st text) returns boolean
language sql stable set search_path = '' as $$
  select exists (select 1 from unnest(p_outcomes) o where o.st <> p_st)
$$;

create or replace function sync.retry(p_place integer, p_op_id uuid) returns sync.outcome language sql stable return
  sync.outcome_of(p_place, p_op_id::text, '{"st": "retry", "msg": "another operation of the batch did not apply"}');

-- The outcomes of a batch that was rolled back.
create or replace function sync.none_applied(p_runs sync.run[], p_written sync.outcome[]) returns sync.outcome[]
language sql stable set search_path = '' as $$
  select array_agg(coalesce(fault, sync.retry(step.place, step.op_id)) order by step.place)
  from unnest(p_runs) run cross join unnest(run.places, run.op_ids) step(place, op_id)
  left join unnest(p_written) fault on fault.place = step.place and fault.st <> 'applied'
$$;

-- Adds to each conflict the state that the record is in.
create or replace function sync.with_current(p_scope text, p_ops jsonb, p_outcomes sync.outcome[])
returns sync.outcome[] language plpgsql stable security invoker set search_path = '' as $$
begin
  if p_outcomes is null or not exists (select 1 from unnest(p_outcomes) o where o.st = 'conflict') then
    return p_outcomes;
  end if;
  return (
    with decided as (
      select o as outcome, o.results::jsonb as result, op.item ->> 'collection' as collection, op.item ->> 'id' as id,
        o.st = 'conflict' as conflicts
      from unnest(p_outcomes) o cross join lateral (select p_ops -> (o.place - 1) as item) op
    ), current as materialized (
      select c.collection, s.id, s.state
      from (select d.collection, array_agg(d.id) as ids from decided d where d.conflicts group by 1) c
      cross join lateral sync.states(c.collection, p_scope, c.ids) s
    )
    select array_agg(case when c.id is null then d.outcome else
      sync.outcome_of((d.outcome).place, d.result ->> 'op', d.result || jsonb_build_object('current', c.state)) end)
    from decided d left join current c on d.conflicts and c.collection = d.collection and c.id = d.id);
end $$;

-- The results in the order of the operations. Those of what was written are in it.
create or replace function sync.push_answer(p_decided sync.outcome[], p_written sync.outcome[]) returns json
language plpgsql volatile set search_path = '' as $$
declare
  results text;
begin
  if coalesce(cardinality(p_decided), 0) = 0 then
    select string_agg(o.results, ',') into results from unnest(p_written) o;
  else
    select string_agg(o.results, ',' order by o.place) into results from unnest(p_decided || p_written) o;
  end if;
  return concat('{"now":', sync.micros(clock_timestamp()), ',"results":[', results, ']}');
end $$;

-- One poke for each scope and transaction, at the commit. It carries no content; clients pull.
create or replace function sync.poke() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- Of several changes in a transaction the last one speaks.
  if new.seq = (select s.seq from sync.scope s where s.scope = new.scope) then
    perform realtime.send(jsonb_build_object('seq', new.seq), 'poke', 'sync:' || new.scope, true);
  end if;
  return null;
end $$;

do $$
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is null then
    raise notice 'no realtime.send here: the feed works without pokes';
    return;
  end if;
  if not exists (select 1 from pg_trigger where tgrelid = 'sync.scope'::regclass and tgname = 'poke') then
    create constraint trigger poke after insert or update of seq on sync.scope
      deferrable initially deferred for each row execute function sync.poke();
  end if;
  if to_regclass('realtime.messages') is not null and to_regprocedure('realtime.topic()') is not null then
    drop policy if exists sync_members_hear_pokes on realtime.messages;
    create policy sync_members_hear_pokes on realtime.messages for select to authenticated using (
      (select realtime.topic()) like 'sync:%' and (select sync.may_read(substr((select realtime.topic()), 6))));
  end if;
end $$;

-- Forgets tombstones and operation ids older than `p_keep`. Whoever has not synchronized for so long starts anew.
-- Answers how many tombstones it forgot. To be called now and then, for example by pg_cron once a day.
create or replace function sync.prune(p_keep interval default '30 days') returns bigint
language plpgsql volatile set search_path = '' as $$
declare
  horizon timestamptz := clock_timestamp() - p_keep;
  forgotten bigint;
begin
  -- In the order of all who lock scopes.
  perform 1 from sync.scope s
  where s.scope in (
    select f.scope from sync.feed f join sync.change c on c.feed = f.number where c.deleted and c.changed_at < horizon)
  order by s.scope for update;
  with gone as (
    delete from sync.change c using sync.feed f
    where f.number = c.feed and c.deleted and c.changed_at < horizon returning f.scope, c.seq
  ), raised as (
    update sync.scope s set floor = greatest(s.floor, top.seq)
    from (select gone.scope, max(gone.seq) as seq from gone group by gone.scope) top
    where s.scope = top.scope
  )
  select count(*) into forgotten from gone;
  delete from sync.applied a where a.applied_at < horizon;
  return forgotten;
end $$;

-- Nobody calls anything but what is named here.
revoke execute on all functions in schema sync from public, anon, authenticated;
grant execute on function
  sync.caller(), sync.escape(text), sync.my_scopes(boolean), sync.may_read(text), sync.may_write(text), sync.require_reader(text),
  sync.described(text), sync.check_epoch(), sync.rows(text, text, text[]), sync.head(text),
  sync.changes_after(text, text, bigint, bigint, integer), sync.entries(text, text, text[]),
  sync.live_entries(text, text, text, integer), sync.micros(timestamptz), sync.state(text, bigint, timestamptz, text, json),
  sync.states(text, text, text[]), sync.page(text, text, text, integer, boolean), sync.is_transient(text),
  sync.rejected(text, text, text), sync.outcome_of(integer, text, jsonb), sync.lock_scope(text), sync.decide(text, jsonb),
  sync.columns_of(jsonb, text), sync.sent_rows(sync.collection), sync.told_content(sync.collection),
  sync.update_statement(sync.collection, text[], boolean), sync.settle(text, sync.run, bigint, text[], json[]), sync.raise_tombstones(text, text, text[]),
  sync.write(text, sync.run), sync.part_of(sync.run, integer, integer), sync.write_run(text, sync.run),
  sync.write_all(text, sync.run[]), sync.any_other(sync.outcome[], text), sync.retry(integer, uuid),
  sync.none_applied(sync.run[], sync.outcome[]), sync.with_current(text, jsonb, sync.outcome[]),
  sync.push_answer(sync.outcome[], sync.outcome[])
to authenticated, service_role;
revoke execute on function
  public.sync_pull(text, text, text, integer, boolean), public.sync_get(text, text, jsonb),
  public.sync_list_ids(text, text, text, integer), public.sync_push(text, jsonb, boolean), public.sync_status()
from public, anon;
grant execute on function
  public.sync_pull(text, text, text, integer, boolean), public.sync_get(text, text, jsonb),
  public.sync_list_ids(text, text, text, integer), public.sync_push(text, jsonb, boolean), public.sync_status()
to authenticated, service_role;
-- Of tables that take part already.
do $$ begin perform sync.make_update(c.name) from sync.collection c; end $$;
notify pgrst, 'reload schema';

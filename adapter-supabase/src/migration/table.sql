-- Collection {collection}: table {table}.
select sync.register({collection_literal}, {table_literal}, {id_literal}, {scope_literal}, {fill_literal},
  {columns_literal}, {writable_literal});

-- Notes for each row that a statement touched whether it is there now, in the scope it was in and in the one it is in.
create or replace function sync.{capture}() returns trigger
language plpgsql security definer set search_path = '' set enable_seqscan = off as $capture$
declare
  scopes text[];
  ids text[];
  deleted boolean[];
  scopes_before text[];
  ids_before text[];
  -- Whether it is a push that writes, and no trigger of the application has written to any collection since it began:
  -- then the rows are as the statement left them.
  alone boolean := coalesce(
    current_setting('sync.pushed', true) = {collection_literal} and current_setting('sync.captured', true) = '', false);
  setting text := set_config('sync.captured', 'yes', true);
begin
  if tg_op = 'TRUNCATE' then
    perform sync.note_truncated({collection_literal});
    return null;
  elsif alone then
    if tg_op = 'DELETE' then
      select array_agg(({scope})::text), array_agg({id}::text) into scopes, ids from old_rows;
    else
      select array_agg(({scope})::text), array_agg({id}::text) into scopes, ids from new_rows;
    end if;
    deleted := array_fill(tg_op = 'DELETE', array[coalesce(cardinality(ids), 0)]);
  elsif tg_op = 'DELETE' then
    select array_agg(touched.scope), array_agg(touched.id::text), array_agg(here.id is null) into scopes, ids, deleted
    from (select ({scope})::text as scope, {id} as id from old_rows) touched
    left join lateral (
      select r.{id} as id from {table} r where r.{id} = touched.id and ({scope})::text = touched.scope offset 0) here on true;
  else
    select array_agg(touched.scope), array_agg(touched.id::text), array_agg(here.id is null) into scopes, ids, deleted
    from (select ({scope})::text as scope, {id} as id from new_rows) touched
    left join lateral (
      select r.{id} as id from {table} r where r.{id} = touched.id and ({scope})::text = touched.scope offset 0) here on true;
  end if;
  if tg_op = 'UPDATE' then
    select array_agg(({scope})::text), array_agg({id}::text) into scopes_before, ids_before from old_rows;
    if (scopes_before, ids_before) is distinct from (scopes, ids) then
      -- A row went to another scope or changed its id.
      select array_agg(touched.scope), array_agg(touched.id::text), array_agg(here.id is null) into scopes, ids, deleted
      from (
        select ({scope})::text as scope, {id} as id from old_rows
        union select ({scope})::text, {id} from new_rows) touched
      left join lateral (
        select r.{id} as id from {table} r where r.{id} = touched.id and ({scope})::text = touched.scope offset 0) here on true;
    end if;
  end if;
  perform sync.note({collection_literal}, scopes, ids, deleted);
  return null;
end $capture$;
revoke execute on function sync.{capture}() from public, anon, authenticated;

create or replace trigger sync_inserted after insert on {table} referencing new table as new_rows
  for each statement execute function sync.{capture}();
create or replace trigger sync_updated after update on {table} referencing old table as old_rows new table as new_rows
  for each statement execute function sync.{capture}();
create or replace trigger sync_deleted after delete on {table} referencing old table as old_rows
  for each statement execute function sync.{capture}();
create or replace trigger sync_truncated after truncate on {table}
  for each statement execute function sync.{capture}();

-- Rows from before.
select sync.reconcile({collection_literal});

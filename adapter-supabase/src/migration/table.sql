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
begin
  case tg_op
    when 'INSERT' then
      select array_agg(touched.scope), array_agg(touched.id::text), array_agg(here.id is null) into scopes, ids, deleted
      from (select ({scope})::text as scope, {id} as id from new_rows) touched
      left join lateral (
        select r.{id} as id from {table} r where r.{id} = touched.id and ({scope})::text = touched.scope) here on true;
    when 'DELETE' then
      select array_agg(touched.scope), array_agg(touched.id::text), array_agg(here.id is null) into scopes, ids, deleted
      from (select ({scope})::text as scope, {id} as id from old_rows) touched
      left join lateral (
        select r.{id} as id from {table} r where r.{id} = touched.id and ({scope})::text = touched.scope) here on true;
    when 'UPDATE' then
      select array_agg(touched.scope), array_agg(touched.id::text), array_agg(here.id is null) into scopes, ids, deleted
      from (
        select ({scope})::text as scope, {id} as id from old_rows
        union select ({scope})::text, {id} from new_rows) touched
      left join lateral (
        select r.{id} as id from {table} r where r.{id} = touched.id and ({scope})::text = touched.scope) here on true;
    else
      perform sync.note_truncated({collection_literal});
      return null;
  end case;
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

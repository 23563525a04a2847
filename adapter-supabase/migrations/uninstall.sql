-- Takes the change feed out again. The tables of the application stay as they are; what is lost is the memory of
-- who may read which scope (sync.member), of deletes, and of operations that took effect.
do $$
declare
  name text;
begin
  if to_regclass('sync.collection') is not null then
    for name in select c.name from sync.collection c loop
      perform sync.unregister(name);
    end loop;
  end if;
  if to_regclass('realtime.messages') is not null then
    drop policy if exists sync_members_hear_pokes on realtime.messages;
  end if;
  -- Pokes that are still to be sent would keep the table.
  set constraints all immediate;
end $$;
drop function if exists
  public.sync_pull(text, text, text, integer, boolean), public.sync_get(text, text, jsonb),
  public.sync_list_ids(text, text, text, integer), public.sync_push(text, jsonb, boolean), public.sync_status();
-- Fails if a policy of the application still asks one of these: change it first.
drop function if exists sync.my_scopes(boolean), sync.may_read(text), sync.may_write(text), sync.caller(),
  sync.escape(text) restrict;
drop schema if exists sync cascade;
notify pgrst, 'reload schema';

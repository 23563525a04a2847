-- What a Supabase project has before its own migrations.
grant usage on schema public to anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public grant execute on functions to anon, authenticated, service_role;

create schema auth;
grant usage on schema auth to anon, authenticated, service_role;
create table auth.users (id uuid primary key, email text unique);
create function auth.jwt() returns jsonb language sql stable as
$$ select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb $$;
create function auth.uid() returns uuid language sql stable as $$ select (auth.jwt() ->> 'sub')::uuid $$;
create function auth.role() returns text language sql stable as $$ select auth.jwt() ->> 'role' $$;

-- Realtime: what the database sends reaches the gateway as a notification.
create schema realtime;
grant usage on schema realtime to anon, authenticated, service_role;
create table realtime.messages (topic text not null, extension text not null, inserted_at timestamp not null default now());
alter table realtime.messages enable row level security;
grant select, insert on realtime.messages to anon, authenticated, service_role;
create function realtime.topic() returns text language sql stable as
$$ select nullif(current_setting('realtime.topic', true), '') $$;
create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
language sql as $$
  select pg_notify('stack_broadcast',
    jsonb_build_object('payload', payload, 'event', event, 'topic', topic, 'private', private)::text)
$$;

-- In place of the publication: tables whose changes subscribers of postgres_changes hear.
create function realtime.publish(relation regclass) returns void language plpgsql as $$
begin
  execute format('create trigger stack_published after insert or update or delete on %s
    for each row execute function realtime.notify_change()', relation);
end $$;
create function realtime.notify_change() returns trigger language plpgsql security definer as $$
declare
  -- A notification has room for 8,000 bytes.
  room constant integer := 7900;
  change jsonb := jsonb_build_object('schema', tg_table_schema, 'table', tg_table_name, 'type', tg_op,
    'commit_timestamp', now(), 'columns', (
      select jsonb_agg(jsonb_build_object('name', a.attname, 'type', t.typname) order by a.attnum)
      from pg_attribute a join pg_type t on t.oid = a.atttypid
      where a.attrelid = tg_relid and a.attnum > 0 and not a.attisdropped));
  records jsonb := case when tg_op <> 'DELETE' then jsonb_build_object('record', to_jsonb(new)) else '{}' end
    || case when tg_op <> 'INSERT' then jsonb_build_object('old_record', to_jsonb(old)) else '{}' end;
begin
  if octet_length((change || records)::text) > room then
    -- As the real one does above its own limit: only short values are sent.
    records := (
      select jsonb_object_agg(r.key, (
        select jsonb_object_agg(f.key, f.value) from jsonb_each(r.value) f where octet_length(f.value::text) <= 64))
      from jsonb_each(records) r);
  end if;
  perform pg_notify('stack_change', (change || records)::text);
  return null;
end $$;

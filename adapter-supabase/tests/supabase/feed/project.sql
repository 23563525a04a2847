grant usage on schema public to anon, authenticated, service_role;
alter default privileges in schema public grant execute on functions to anon, authenticated, service_role;

create schema realtime;
create function realtime.topic() returns text language sql stable as $$ select current_setting('realtime.topic', true) $$;
create table realtime.messages (topic text, payload jsonb, event text, private boolean);
alter table realtime.messages enable row level security;
grant usage on schema realtime to authenticated;
grant select on realtime.messages to authenticated;
create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
language sql as $$ insert into realtime.messages (topic, payload, event, private) values (topic, payload, event, private) $$;

create table public.todo (
  id uuid primary key default gen_random_uuid(),
  scope text not null,
  title text not null check (length(title) < 200),
  done boolean not null default false,
  amount bigint,
  tags text[],
  meta jsonb,
  due timestamptz,
  secret boolean not null default false,
  updated_at timestamptz not null default now()
);
create function public.touch() returns trigger language plpgsql as
$$ begin new.updated_at := clock_timestamp(); return new; end $$;
create trigger touch before insert or update on public.todo for each row execute function public.touch();
create index todo_by_time on public.todo (updated_at, id);

create table public.note (
  id text primary key,
  scope text not null,
  todo uuid references public.todo on delete cascade deferrable initially deferred,
  text text not null default 'empty'
);

create table public.task (
  id bigint primary key,
  project_id text,
  title text not null
);

alter table public.todo enable row level security;
alter table public.note enable row level security;
alter table public.task enable row level security;
grant select, insert, update, delete on public.todo, public.note, public.task to authenticated, service_role;

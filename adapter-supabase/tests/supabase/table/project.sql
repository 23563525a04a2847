-- Two tables as applications have them: no feed, `updated_at` set by a trigger to the begin of the transaction.
create function public.touch() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end $$;

create table public.todos (
  owner text not null, id text not null, title text, done boolean, count bigint, note text,
  updated_at timestamptz not null default now(), primary key (owner, id));
create index on public.todos (owner, updated_at, id);
create table public.notes (like public.todos including all);

create trigger touch before insert or update on public.todos for each row execute function public.touch();
create trigger touch before insert or update on public.notes for each row execute function public.touch();

alter table public.todos enable row level security;
alter table public.notes enable row level security;
create policy signed_in on public.todos for all to authenticated using (true) with check (true);
create policy signed_in on public.notes for all to authenticated using (true) with check (true);
select realtime.publish('public.todos'), realtime.publish('public.notes');

create table public.todo (
  id uuid primary key default gen_random_uuid(),
  owner uuid not null default auth.uid(),
  title text not null,
  done boolean not null default false
);
alter table public.todo enable row level security;
create policy owners on public.todo for all to authenticated using (owner = (select auth.uid()))
  with check (owner = (select auth.uid()));
create policy listens on realtime.messages for select to authenticated
  using ((select realtime.topic()) = 'own:' || (select auth.uid()));
create function public.twice(number integer) returns integer language sql as $$ select number * 2 $$;
select realtime.publish('public.todo');

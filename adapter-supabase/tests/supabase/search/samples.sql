create table public.samples (
  id uuid primary key, owner text not null, title text, n bigint, rate double precision, price numeric, done boolean,
  due timestamptz, tags text[], data jsonb, updated_at timestamptz not null default now());
alter table public.samples enable row level security;
create policy signed_in on public.samples for select to authenticated using (true);

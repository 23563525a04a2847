create table public.todo (
  id uuid primary key default gen_random_uuid(),
  scope text not null,
  title text not null check (length(title) < 200),
  done boolean not null default false,
  amount bigint,
  price numeric,
  tags text[],
  meta jsonb,
  due timestamptz,
  secret boolean not null default false,
  updated_at timestamptz not null default now()
);
create function public.touch() returns trigger language plpgsql as
$$ begin new.updated_at := clock_timestamp(); return new; end $$;
create trigger touch before update on public.todo for each row execute function public.touch();

create table public.note (
  id text primary key,
  scope text not null,
  todo uuid references public.todo on delete cascade deferrable initially deferred,
  text text not null default 'empty'
);

alter table public.todo enable row level security;
alter table public.note enable row level security;

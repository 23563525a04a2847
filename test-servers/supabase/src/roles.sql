-- Roles are of the whole server; several stacks may start at once.
do $$
declare
  wanted text;
begin
  perform pg_advisory_xact_lock(7215);
  foreach wanted in array array['anon', 'authenticated', 'service_role', 'authenticator'] loop
    if to_regrole(wanted) is null then
      execute format('create role %I noinherit %s', wanted, case wanted when 'service_role' then 'bypassrls' end);
    end if;
  end loop;
  if not (select rolcanlogin from pg_roles where rolname = 'authenticator')
    or not pg_has_role('authenticator', 'authenticated', 'member') then
    alter role authenticator login password 'authenticator';
    grant anon, authenticated, service_role to authenticator;
  end if;
end $$;

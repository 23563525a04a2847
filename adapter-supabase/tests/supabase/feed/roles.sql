do $$
declare
  wanted text;
begin
  perform pg_advisory_xact_lock(7215);
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    if to_regrole(wanted) is null then
      execute format('create role %I nologin %s', wanted, case wanted when 'service_role' then 'bypassrls' end);
    end if;
  end loop;
end $$;

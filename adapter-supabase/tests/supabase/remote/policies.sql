create policy sees on public.todo for select to authenticated
  using (scope in (select sync.my_scopes()) and not secret);
create policy makes on public.todo for insert to authenticated with check (scope in (select sync.my_scopes(true)));
create policy changes on public.todo for update to authenticated
  using (scope in (select sync.my_scopes(true))) with check (scope in (select sync.my_scopes(true)));
create policy removes on public.todo for delete to authenticated using (scope in (select sync.my_scopes(true)));
create policy members on public.note for all to authenticated
  using (scope in (select sync.my_scopes())) with check (scope in (select sync.my_scopes(true)));

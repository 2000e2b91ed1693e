-- Staff look for accounts by a part of a name or of a member's address. The extension is a trusted one: the owner of the
-- database, or whoever may create in it, may install it. It may be there already, in whatever schema.
create extension if not exists pg_trgm;
do $$
declare
  operators constant text := (
    select quote_ident(nspname) || '.gin_trgm_ops' from pg_extension join pg_namespace namespace
      on namespace.oid = extnamespace where extname = 'pg_trgm');
begin
  execute format('create index accounts_name_trigram_idx on accounts using gin (name %s)', operators);
  execute format('create index users_email_trigram_idx on users using gin (email %s)', operators);
end $$;

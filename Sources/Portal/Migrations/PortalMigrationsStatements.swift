import Postgres

/// The access rules that the database has, as statements that would set them, in an order in which they can be run.
/// Only for the portal's own objects and roles; any login may run it.
struct ListAccess: PostgresStatement {
  static let isRead = true
  static let sql = """
    with home as (
      select relnamespace as schema, relowner as owner from pg_class where oid = to_regclass('schema_migrations')
    ), extension_members as (
      select classid, objid from pg_depend where deptype = 'e'
    ), relations as (
      select oid, oid::regclass::text as name, relacl, relowner, relrowsecurity
      from home join pg_class on relnamespace = schema
      where relkind in ('r', 'p', 'v') and not relispartition
        and ('pg_class'::regclass, oid) not in (select classid, objid from extension_members)
    ), routines as (
      select oid, oid::regprocedure::text as name, proacl, proowner from home join pg_proc on pronamespace = schema
      where ('pg_proc'::regclass, oid) not in (select classid, objid from extension_members)
    ), roles as (
      select oid, quote_ident(rolname) as name from pg_roles where rolname = any ($1)
    ), access (position, statement) as (
      select 1, format('alter table %s owner to :owner', name) from home join relations on relowner = owner
      union all
      select 1, format('alter function %s owner to :owner', name) from home join routines on proowner = owner
      union all
      -- Where everybody has it, nobody has to be granted it, which takes the schema's owner.
      select 2, format('grant usage on schema :schema to %s', roles.name)
      from home, roles where has_schema_privilege(roles.oid, schema, 'usage')
      union all
      select 3, format('alter table %s enable row level security', name) from relations where relrowsecurity
      union all
      select 4, regexp_replace(
        format(
          'create policy %I on %s as %s for %s to %s', polname, name,
          case when polpermissive then 'permissive' else 'restrictive' end,
          case polcmd
            when '*' then 'all' when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' else 'delete'
          end,
          (select string_agg(coalesce(quote_ident(rolname), 'public'), ', ' order by rolname collate "C")
           from unnest(polroles) member left join pg_roles on pg_roles.oid = member))
        || coalesce(' using (' || pg_get_expr(polqual, polrelid) || ')', '')
        || coalesce(' with check (' || pg_get_expr(polwithcheck, polrelid) || ')', ''),
        '\\s+', ' ', 'g')
      from pg_policy join relations on relations.oid = polrelid
      union all
      select 5, format('revoke execute on function %s from public', name) from routines
      where proacl is not null and not exists (select from aclexplode(proacl) where grantee = 0)
      union all
      select 6, format('grant %s on function %s to %s', lower(privilege_type), routines.name, roles.name)
      from routines, aclexplode(proacl) join roles on roles.oid = grantee
      union all
      select 7, format('grant %s on %s to %s', lower(privilege_type), relations.name, roles.name)
      from relations, aclexplode(relacl) join roles on roles.oid = grantee
      union all
      select 8, format('grant %s (%I) on %s to %s', lower(privilege_type), attname, relations.name, roles.name)
      from relations join pg_attribute on attrelid = relations.oid and not attisdropped,
        aclexplode(attacl) join roles on roles.oid = grantee
    )
    select statement from access order by position, statement collate "C"
    """
  func bind(_ bindings: inout PostgresBindings) { bindings.append(DatabaseRole.names) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AccessRule {
    AccessRule(statement: try row.next())
  }
}

struct ReadMigrationNeeds: PostgresStatement {
  static let isRead = true
  /// From version 16 on, a member may or may not be able to switch to a role, and a login that may create roles may
  /// grant only those that it created.
  static let sql = """
    with server as (
      select current_setting('server_version_num')::integer >= 160000 as has_set_option
    ), login as (
      select rolsuper, rolcreaterole from pg_roles where rolname = current_user
    ), wanted as (
      select name, position, pg_roles.oid from unnest($1::text[]) with ordinality as names (name, position)
        left join pg_roles on rolname = name
    ), strange as (
      select name, position, oid from wanted, server
      where oid is not null
        and not pg_has_role(current_user, oid, case when has_set_option then 'SET' else 'MEMBER' end)
    ), home as (
      select relowner from pg_class where oid = to_regclass('schema_migrations')
    )
    select quote_ident(current_user), quote_ident(current_database()), quote_ident(current_schema()),
      (select quote_ident(pg_get_userbyid(relowner)) from home),
      array(select name from wanted where oid is null order by position),
      array(select name from strange order by position),
      rolsuper or rolcreaterole,
      rolsuper or rolcreaterole and not has_set_option or not exists (
        select from strange where not pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION')),
      coalesce(has_schema_privilege(current_schema(), 'create'), false),
      case
        when exists (select from pg_extension where extname = 'pg_trgm') then 'installed'
        when not exists (select from pg_available_extensions where name = 'pg_trgm') then 'absent'
        when rolsuper then 'installable'
        when not exists (
          select from pg_available_extensions available join pg_available_extension_versions version using (name)
          where name = 'pg_trgm' and version.version = default_version and trusted) then 'superuser_needed'
        when has_database_privilege(current_database(), 'create') then 'installable'
        else 'database_needed'
      end,
      coalesce((select pg_has_role(relowner, 'usage') from home), true)
    from server, login
    """
  func bind(_ bindings: inout PostgresBindings) { bindings.append(DatabaseRole.names) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> MigrationNeeds {
    MigrationNeeds(
      login: try row.next(), database: try row.next(), schema: try row.next(), owner: try row.next(),
      missingRoles: try row.next(), unavailableRoles: try row.next(), mayMakeRoles: try row.next(),
      mayJoinRoles: try row.next(), mayCreateInSchema: try row.next(),
      trigrams: MigrationNeeds.Trigrams(rawValue: try row.next()) ?? .absent, isOwner: try row.next())
  }
}

/// Creates the roles and grants each to the login, as `0011_row_level_security` does. A script, because it binds
/// nothing.
enum CreateDatabaseRoles {
  static let script = """
    do $$
    declare
      name text;
      has_set_option constant boolean := current_setting('server_version_num')::integer >= 160000;
    begin
      foreach name in array array[\(DatabaseRole.names.map { "'\($0)'" }.joined(separator: ", "))] loop
        begin
          if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
          end if;
        exception when duplicate_object or unique_violation then
          -- Another database of the server may have made it at this moment.
          null;
        end;
        if not pg_has_role(current_user, name, case when has_set_option then 'SET' else 'MEMBER' end) then
          execute format('grant %I to current_user', name);
        end if;
      end loop;
    end $$
    """
}

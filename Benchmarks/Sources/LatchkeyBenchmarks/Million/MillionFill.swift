import Foundation

/// Fills a database with accounts, people, keys and a month of usage, in SQL. Except for dates, the data is the same
/// every time.
///
/// A key's requests decrease with its rank: the n-th key has a million divided by n per day, and five to twelve more.
/// The busiest twentieth of the keys are used every day, the others on one day in twenty. Of the keys not used in that
/// month, one in 200 was never used; the rest were used in the two months before, or a year ago.
struct MillionFill {
  static let dayCount = 30
  /// Today and the days for which outcomes can still be reported.
  static let openDayCount = 4

  let database: BenchmarkDatabase
  let keys: Int

  var accountCount: Int { keys / BenchmarkDatabase.keysPerAccount }
  var largeAccountKeyCount: Int { keys / 100 }

  func run() throws {
    let start = ContinuousClock.now
    func progress(_ what: String) {
      report("  \(column((ContinuousClock.now - start) / .seconds(1), 1, width: 6)) s: \(what)")
    }
    report("\(keys) keys in \(accountCount) accounts, \(largeAccountKeyCount) of them in one:")
    try insertAccounts()
    progress("\(accountCount) accounts with \(accountCount * 3 / 2) people")
    try insertKeys()
    progress("\(keys) keys")
    try insertUsage()
    progress(
      "\(Self.dayCount) days of usage, \(try database.value("select count(*) from bench_days")) days of keys, the last "
        + "\(Self.openDayCount) of them unpacked")
    try database.execute("drop table bench_days")
    try database.execute("vacuum analyze")
    progress("vacuumed and analyzed")
  }

  private func insertAccounts() throws {
    try database.execute(
      """
      -- UUIDs version 7, made from a number and a moment.
      create function bench_id(kind text, number bigint, at timestamptz) returns uuid language sql immutable as $$
        select overlay(overlay(lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
          || substr(pg_catalog.md5(kind || number), 13, 20) placing '7' from 13 for 1) placing '8' from 17 for 1)::uuid
      $$;
      insert into plans (name, key_cap, scopes, rate_limit_per_minute_max) values ('large', 10000, '{*}', 10000);
      create table bench_accounts as
        select number, bench_id('account', number, made) as id, bench_id('user', number, made) as user_id, made from (
          select number, now() - interval '1100 days' * (1 - number / \(accountCount)::double precision) as made
          from generate_series(0, \(accountCount - 1)) number) moments;
      insert into accounts (id, name, plan, created_at, suspended_at)
        select id, (array['Orion', 'Alder', 'Birch', 'Cobalt', 'Delta', 'Ember', 'Falcon'])[number % 7 + 1] || ' '
          || (array['Logistics', 'Foods', 'Mobility', 'Health', 'Studios', 'Energy', 'Travel', 'Robotics', 'Media',
            'Systems', 'Finance', 'Games', 'Labs'])[number % 13 + 1] || ' ' || number,
          case number when 0 then 'large' else 'default' end, made, case when number % 100 = 99 then now() end
        from bench_accounts;
      insert into users (id, email, password_hash)
        select user_id, 'person' || number || '@mail' || number % 97 || '.example', '' from bench_accounts
        union all
        select bench_id('guest', number, made), 'guest' || number || '@mail' || number % 97 || '.example', ''
        from bench_accounts where number % 2 = 0;
      insert into memberships (account_id, user_id, role)
        select id, user_id, 'owner' from bench_accounts
        union all
        select id, bench_id('guest', number, made), 'developer' from bench_accounts where number % 2 = 0;
      insert into account_endpoints (account_id, endpoint, number)
        select id, '/v1/orders/' || endpoint, endpoint from bench_accounts, generate_series(1, 3) endpoint;
      analyze
      """)
  }

  private func insertKeys() throws {
    try database.execute(
      """
      create table bench_keys as
        select number, account, bench_id('key', number, made) as id, made,
          1 + number * 7919::bigint % \(keys + 3) as rank
        from (
          select number, case when number % 100 = 0 then 0
              else 1 + (hashint8extended(number, 1) & 1099511627775) % \(accountCount - 1) end as account,
            now() - interval '1095 days' * (1 - number / \(keys)::double precision) as made
          from generate_series(0, \(keys - 1)) number) keys;
      analyze bench_keys;
      insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes, created_at, revoked_at,
        disabled_at, expires_at, tags, description)
      select key.id, account.id, 'Orders service ' || key.number,
        'lk_live_' || substr(pg_catalog.md5(key.number::text), 1, 4),
        sha256(convert_to(key.number::text, 'UTF8')), case when key.number % 5 = 0 then 'test' else 'live' end,
        '{orders:read,orders:write}', key.made,
        case when key.number % 1000 between 100 and 180 then key.made + interval '20 days' end,
        case when key.number % 50 = 9 then key.made + interval '30 days' end,
        case when key.number % 20 = 11 then key.made + interval '2 years' end,
        case when key.number % 4 = 1 then '{team:orders,eu}'::text[] else '{}' end,
        case when key.number % 3 = 0 then 'What the warehouse asks with' end
      from bench_keys key join bench_accounts account on account.number = key.account order by key.number;
      delete from invalidation_log
      """)
  }

  private func insertUsage() throws {
    try database.execute(
      """
      select ensure_usage_partitions((current_date - \(Self.dayCount))::date, 4);
      create table bench_days as
        select key.id as key_id, account.id as account_id, age, current_date - age as day,
          (1000000 / key.rank + 5 + (hashint8extended(key.number, age) & 7))::bigint as verified
        from bench_keys key join bench_accounts account on account.number = key.account
          cross join generate_series(0, \(Self.dayCount - 1)) age
        where (key.rank <= \(keys / 20) or (hashint8extended(key.number, 100 + age) & 1023) < 51)
          and key.number % 1000 not between 100 and 180 and key.number % 50 <> 9 and key.made < current_date - age;
      analyze bench_days
      """)
    // One day at a time, like packing.
    for age in (Self.openDayCount..<Self.dayCount).reversed() {
      try database.execute(
        """
        insert into packed_usage (account_id, key_id, day, verified_count, denied_count, reported_count, error_count,
          success_count, total_latency_ms, latency_count, endpoints, verified, denied)
        select account_id, key_id, day, verified, verified / 50, 0, 0, verified, 0, 0, '{1,2,3}',
          array[verified - verified / 3 - verified / 6, verified / 3, verified / 6]::integer[],
          array[verified / 50, 0, 0]::integer[]
        from bench_days where age = \(age) order by account_id, key_id
        """)
    }
    try database.execute(
      """
      insert into key_usage (account_id, key_id, day, endpoint, verified_count, denied_count)
      select account_id, key_id, day, '/v1/orders/' || endpoint, case endpoint
          when 1 then verified - verified / 3 - verified / 6 when 2 then verified / 3 else verified / 6 end,
        case endpoint when 1 then verified / 50 else 0 end
      from bench_days, generate_series(1, 3) endpoint where age < \(Self.openDayCount) order by 1, 2, 3, 4;
      -- In a year of such months, in no order, as keys come to be used.
      insert into key_activity (account_id, key_id, last_used_at, verified_count, denied_count)
      select account_id, key_id, max(day)::timestamptz, sum(verified) * 12, sum(verified / 50) * 12
      from bench_days group by 1, 2 order by pg_catalog.md5(key_id::text)
      on conflict (account_id, key_id) do update set last_used_at = excluded.last_used_at,
        verified_count = excluded.verified_count, denied_count = excluded.denied_count;
      insert into key_activity as activity (account_id, key_id, last_used_at, verified_count)
      select account.id, key.id, greatest(key.made, now() - case when key.number % 50 = 13 then interval '400 days'
          else interval '31 days' + (hashint8extended(key.number, 3) & 63) * interval '1 day' end), 40
      from bench_keys key join bench_accounts account on account.number = key.account
      where key.number % 200 <> 7
      on conflict (account_id, key_id) do update set last_used_at = excluded.last_used_at,
        verified_count = excluded.verified_count where activity.last_used_at is null
      """)
  }

  /// Creates a session of the owner of the large account. Returns its token.
  func logInOwner() throws -> String {
    let token = Self.token(prefix: "lk_session_")
    try database.execute(
      """
      insert into sessions (token_hash, account_id, user_id, expires_at)
      select sha256('\(token)'), id, user_id, now() + interval '1 day' from bench_accounts where number = 0
      """)
    return token
  }

  private static func token(prefix: String) -> String {
    var generator = SystemRandomNumberGenerator()
    return String(decoding: KeyMix.randomSecret(prefix: prefix, using: &generator), as: UTF8.self)
  }

  /// Creates a member of staff and a session of theirs. Returns its token.
  func logInStaff() throws -> String {
    let token = Self.token(prefix: "lk_staff_")
    try database.execute(
      """
      insert into staff (id, email, name, role, password_hash)
        values (bench_id('staff', 1, now()), 'grace@staff.example', 'Grace', 'admin', '');
      insert into staff_sessions (token_hash, staff_id, expires_at)
        select sha256('\(token)'), id, now() + interval '1 day' from staff
      """)
    return token
  }
}

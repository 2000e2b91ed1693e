internal import CMigrations
package import Postgres

extension Migrations {
  /// The files of the folder migrations/, as they were when the program was built.
  package static func embedded() throws(PostgresError) -> Migrations {
    var files: [File] = []
    while let file = embedded_migration_at(files.count)?.pointee {
      let bytes = UnsafeBufferPointer(start: file.bytes, count: file.length)
      files.append(
        try File(name: String(String(cString: file.name).dropLast(4)), sql: String(decoding: bytes, as: UTF8.self)))
    }
    return try Migrations(files, replacing: beforeBaseline, withFirst: baselineFileCount)
  }

  /// The baseline: 0001_accounts_and_people to 0011_row_level_security.
  package static let baselineFileCount = 11

  /// The migrations from before the baseline: a database that has all of these has the schema of its files.
  package static let beforeBaseline = [
    ("0001_accounts_and_people", "ffcac24cb9ade5a04d435e5976d21b36"),
    ("0002_api_keys", "43b35b3e91f108a69b8ec2a8550e7916"),
    ("0003_invalidation", "aa887705a28b3092f5f341ad5203c6a3"),
    ("0004_usage", "2df2eb99e54c4a9aa5cb6398113425de"),
    ("0005_audit_events", "8a0ca072265bb81b79f756f1b1ee8db8"),
    ("0006_rate_limits", "5c4e0b7d801ca10374be42f858ac56e4"),
    ("0007_usage_exact", "7fd711be87b2dd287fe212b01d2da86a"),
    ("0008_usage_storage", "3abf3796702b3656ec08d10c36b9ffc3"),
    ("0009_analytics", "26705fa4a3a05b51419d80e605160584"),
    ("0010_row_level_security", "25d0462491667741818c369f4ae389d5"),
    ("0011_members", "5ab36df89a95750ebd03459b16082468"),
    ("0012_account_usage", "dcd006ed504987b9ad1482d73b1d5532"),
    ("0013_audit_chain", "1f8829fec261b5d2e6e797188b2e2ea1"),
    ("0014_mail", "99444f384e34d4073e0ce1d0463d48e2"),
    ("0015_invitations", "bb644e77b96870310951f65e3682cc21"),
    ("0016_key_settings", "37ea96fcb7b3f256b7aad02aaa7bc470"),
    ("0017_plans_and_policy", "2179cc7eb586120a0392900d12ace8e8"),
    ("0018_idempotency", "833adca9f75509f1b334ba15f780dfea"),
    ("0019_sessions", "80613ca72859c6f66e2a23e8f9033b7f"),
    ("0020_attempts", "5a242a2d903e6266b3c3c376c1eb099e"),
    ("0021_staff_desk", "6a97de1bca1d1b332e5d6a6012b7a97b"),
    ("0022_service_tokens", "d200e58ad3cdcec5e0e4e0307f2a0844"),
    ("0023_expiry_by_plan", "ec95e11c49ae7295f4d7a0e30cad0077"),
  ].enumerated().map { index, row in Applied(number: index + 1, name: row.0, checksum: row.1) }
}

extension AccessRules {
  /// The file migrations/access, as it was when the program was built.
  package static let embedded: AccessRules = {
    let file = embedded_access().pointee
    return AccessRules(
      text: String(decoding: UnsafeBufferPointer(start: file.bytes, count: file.length), as: UTF8.self))
  }()
}

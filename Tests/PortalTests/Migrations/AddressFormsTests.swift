import Foundation
import JSON
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Addresses in one form")
struct AddressFormsTests {
  /// The number of the file that converts addresses to it.
  private static let number = 24

  @Test("every existing person gets the composed form of the address, unless another person has it")
  func upgrade() async throws {
    try await withPool(isSwept: false) { pool in
      try await pool.script("drop schema public cascade; create schema public")
      let files = try Migrations.embedded().files
      _ = try await Migrations(files.filter { $0.number < Self.number }).apply(on: pool)
      try await pool.script(
        """
        insert into users (id, email, password_hash, created_at)
        select gen_random_uuid(), email, '', now() + n * interval '1 second'
        from (values (1, 'jose\u{301}@example.com'), (2, 'zo\u{EB}@example.com'), (3, 'zoe\u{308}@example.com'),
          (4, 'o\u{302}\u{323}@example.com'), (5, 'o\u{323}\u{302}@example.com'), (6, 'ada@example.com')
          ) people (n, email);
        insert into staff (id, email, name, role, password_hash)
        values (gen_random_uuid(), 'jose\u{301}@example.com', 'Jose', 'support', '')
        """)
      _ = try await Migrations(files).apply(on: pool)
      let expected = [
        "jos\u{E9}@example.com", "zo\u{EB}@example.com", "zoe\u{308}@example.com", "\u{1ED9}@example.com",
        "o\u{323}\u{302}@example.com", "ada@example.com",
      ]
      let emails = try await pool.lines("select email from users order by created_at")
      #expect(emails.map(ByteText.init) == expected.map(ByteText.init))
      #expect(try await pool.lines("select email from staff").map(ByteText.init) == [ByteText(expected[0])])
    }
  }
}

import Foundation
import Postgres

@testable import Portal

extension PostgresSettings {
  static let gateway = PostgresSettings(["role": DatabaseRole.gateway.rawValue])
}

/// One bucket in a database, with holders by number, beside ``CreditsReference``.
struct CreditsDatabase {
  let pool: PostgresPool
  let accountID: UUID
  let bucketID = UUID.version7()
  private var holders: [Int: UUID] = [:]

  init(_ pool: PostgresPool, accountID: UUID, available: Int) async throws {
    self.pool = pool
    self.accountID = accountID
    try await pool.script(
      "insert into credits (id, account_id, available) values ('\(bucketID)', '\(accountID)', \(available))")
  }

  mutating func id(_ holder: Int) -> UUID {
    let id = holders[holder] ?? .version7()
    holders[holder] = id
    return id
  }

  mutating func open(_ holder: Int) async throws -> Bool {
    try await pool.query(OpenCreditHolder(holder: id(holder)), as: .gateway) == [true]
  }

  mutating func ask(_ ask: CreditAsk, by holder: Int) async throws -> CreditAnswer? {
    try await pool.query(AskCredits(bucket: bucketID, holder: id(holder), ask: ask), as: .gateway).first
  }

  mutating func settle(_ spent: Int, generation: Int, by holder: Int) async throws -> SettledCredit? {
    try await pool.query(
      SettleCredits(holder: id(holder), buckets: [bucketID], generations: [generation], spents: [spent]), as: .gateway
    ).first
  }

  mutating func adopt(_ holder: Int, slots: [Int: Int]) async throws -> Int? {
    try await pool.query(
      AdoptCredits(
        holder: id(holder), buckets: slots.map { _ in bucketID }, generations: Array(slots.keys),
        spents: Array(slots.values)), as: .gateway
    ).first
  }

  func change(_ operation: ChangeCredits.Operation, _ amount: Int) async throws -> Int? {
    try await pool.query(
      ChangeCredits(accountID: accountID, bucketID: bucketID, operation: operation, amount: amount),
      as: .staff(in: accountID)
    ).first?.remaining
  }

  /// These holders, and no others, are heard of.
  mutating func hear(_ live: Set<Int>) async throws {
    let ids = live.sorted().map { "'\(id($0))'" }.joined(separator: ", ")
    try await pool.script(
      """
      update credit_holders set heard_at = now() - interval '1 minute';
      update credit_holders set heard_at = now() where id in (\(ids.isEmpty ? "null" : ids))
      """)
  }

  /// The bucket and its leases, as one text.
  mutating func rows() async throws -> String? {
    let numbers = holders.sorted { $0.key < $1.key }.map { "('\($0.value)'::uuid, \($0.key))" }.joined(separator: ", ")
    return try await pool.text(
      """
      select format('%s %s %s %s %s %s', generation, available, withheld, carried_from, oversold, (
        select string_agg(
          format('%s:%s,%s,%s,%s,%s', holder.number, lease.generation, granted, settled, lease.number, is_recalled),
          ' ' order by holder.number)
        from credit_leases lease join (values \(numbers)) holder (id, number) on holder.id = lease.holder_id
        where lease.credits_id = bucket.id))
      from credits bucket where id = '\(bucketID)'
      """)
  }
}

extension CreditsReference {
  /// As ``CreditsDatabase/rows()``.
  var rows: String {
    let places = withheld.map { $0.map(String.init) ?? "NULL" }.joined(separator: ",")
    let leases = leases.sorted { $0.key < $1.key }.map { holder, lease in
      let flag = lease.isRecalled ? "t" : "f"
      return "\(holder):\(lease.generation),\(lease.granted),\(lease.settled),\(lease.number),\(flag)"
    }
    return "\(generation) \(available) {\(places)} \(carriedFrom) \(oversold) \(leases.joined(separator: " "))"
  }
}

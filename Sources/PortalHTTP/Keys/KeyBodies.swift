import Portal

/// How long a key, or a service token, goes on working when it is replaced.
struct RollBody: JSONBody {
  static let isOptional = true

  var graceSeconds: Int

  init(_ fields: inout RequestFields) throws {
    let graceSeconds = fields.integer("graceSeconds", 0...Key.graceSecondsMax, default: 0)
    try fields.finish()
    self.graceSeconds = graceSeconds
  }
}

import ArgumentParser
import JSON
import Portal
import PortalAPI
import PortalHTTP

struct ApisCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "apis", abstract: "Manage the apis that keys are for.",
    subcommands: [List.self, Create.self, Update.self, Delete.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the apis, most recent first.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let listed = try await configuration.withCatalog(CatalogAPIs.init) { apis in
          try await pageOptions.read { try await apis.list(page: $0) }
        }
        Output(isJSON: options.json).print(
          Self.table(listed.items), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("apis", listed.items) { json, api in json.object { $0.fields(of: api) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }

    private static func table(_ apis: [CatalogAPI]) -> Table {
      var table = Table(["ID", "SLUG", "KEY PREFIX", .number("KEY BYTES"), "PROTECTED", "NAME"])
      for api in apis {
        let settings = api.settings
        table.add([
          api.id.text, settings.slug, settings.keyPrefix, "\(settings.keyBytes)", settings.isProtected ? "yes" : "no",
          settings.name,
        ])
      }
      return table
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Create an api.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The slug, which is accepted in place of the id.") var slug: String
    @Option(help: "The name.") var name: String
    @Option(help: "What new keys for it begin with. Default: KEY_PREFIX.") var keyPrefix: String?
    @Option(help: "The number of random bytes of new keys for it, 16 to 255.")
    var keyBytes = CatalogAPI.keyBytesDefault
    @Flag(name: .customLong("protected"), help: "Refuse to delete it.") var isProtected = false
    @Option(help: ApisCommand.endpointLimitsHelp, transform: ValidationError.parse(endpointLimits:))
    var endpointLimits: EndpointLimits?

    func validate() throws {
      try ValidationError.check(catalogName: slug, "SLUG")
      _ = try ValidationError.check(name: name, CatalogAPI.nameLengthMax)
      try ValidationError.check(keyPrefix: keyPrefix, keyBytes: keyBytes)
    }

    func run() async throws {
      let settings = CatalogAPI.Settings(
        slug: slug, name: try ValidationError.check(name: name, CatalogAPI.nameLengthMax), keyPrefix: keyPrefix,
        keyBytes: keyBytes, isProtected: isProtected, endpointLimits: endpointLimits ?? EndpointLimits([]))
      let configuration = try await options.load()
      try await reportingFailure {
        let api = try await configuration.withCatalog(CatalogAPIs.init) {
          try await $0.create(settings, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "api \(api.id.text) \(api.settings.slug)", json: .object { $0.fields(of: api) })
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change an api.", discussion: "What is not given stays. Existing keys keep their text.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The api's id or slug.", transform: ValidationError.parse(catalog:)) var api: CatalogReference
    @Option(help: "The new slug.") var slug: String?
    @Option(help: "The new name.") var name: String?
    @Option(help: "What new keys for it begin with; an empty text: KEY_PREFIX.") var keyPrefix: String?
    @Option(help: "The number of random bytes of new keys for it, 16 to 255.") var keyBytes: Int?
    @Flag(inversion: .prefixedNo, help: "Refuse to delete it.") var protected: Bool?
    @Option(help: ApisCommand.endpointLimitsHelp, transform: ValidationError.parse(endpointLimits:))
    var endpointLimits: EndpointLimits?

    func validate() throws {
      if let slug { try ValidationError.check(catalogName: slug, "--slug") }
      if let name { _ = try ValidationError.check(name: name, CatalogAPI.nameLengthMax) }
      try ValidationError.check(keyPrefix: keyPrefix == "" ? nil : keyPrefix, keyBytes: keyBytes)
    }

    func run() async throws {
      let changes = CatalogAPIChanges(
        slug: slug, name: try name.map { try ValidationError.check(name: $0, CatalogAPI.nameLengthMax) },
        keyPrefix: keyPrefix.map { $0.isEmpty ? .remove : .set($0) } ?? .keep, keyBytes: keyBytes,
        isProtected: protected, endpointLimits: endpointLimits)
      let configuration = try await options.load()
      try await reportingFailure {
        let (changed, propagation) = try await configuration.withCatalog(CatalogAPIs.init) {
          try await $0.update(api, changes, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "api \(changed.id.text) \(changed.settings.slug)",
          json: .object { json in
            json.fields(of: changed)
            json.propagation(propagation)
          })
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Delete an api that is not protected, and that neither keys nor service tokens use.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The api's id or slug.", transform: ValidationError.parse(catalog:)) var api: CatalogReference

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        try await configuration.withCatalog(CatalogAPIs.init) { try await $0.delete(api, by: commandCaller) }
        Output(isJSON: options.json).print("api \(api.text) deleted", json: .object { _ in })
      }
    }
  }
}

extension ApisCommand {
  fileprivate static let endpointLimitsHelp = ArgumentHelp(
    "The limits for its endpoints, as JSON.",
    discussion: #"[{"endpoint": "GET /orders/*", "limit": 60, "windowMilliseconds": 60000, "roles": {}}]"#,
    valueName: "json")
}

extension ValidationError {
  fileprivate static func parse(endpointLimits text: String) throws -> EndpointLimits {
    guard let value = try? JSONParser.parse(text.utf8), case .array = value else {
      throw ValidationError("--endpoint-limits must be a list in JSON.")
    }
    var fields = RequestFields([("endpointLimits", value)], location: "")
    let limits = fields.endpointLimits()
    if let problem = fields.finalProblems.first {
      throw ValidationError("\(problem.location.dropFirst()) \(problem.message).")
    }
    return limits ?? EndpointLimits([])
  }

  fileprivate static func check(keyPrefix: String?, keyBytes: Int?) throws {
    guard keyPrefix.map({ KeyFormat(prefix: $0) != nil }) ?? true else {
      throw ValidationError("--key-prefix must match ^[a-z][a-z0-9]{1,15}$.")
    }
    let range = CatalogAPI.keyBytesRange
    guard range.contains(keyBytes ?? CatalogAPI.keyBytesDefault) else {
      throw ValidationError("--key-bytes must be a whole number from \(range.lowerBound) to \(range.upperBound).")
    }
  }
}

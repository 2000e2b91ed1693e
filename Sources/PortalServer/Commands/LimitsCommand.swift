import ArgumentParser
import JSON
import Portal
import PortalAPI
import PortalHTTP

struct LimitsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "limits", abstract: "Manage the namespaces and overrides of standalone limits.",
    subcommands: [LimitNamespacesCommand.self, LimitOverridesCommand.self])
}

struct LimitNamespacesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "namespaces", abstract: "List and delete namespaces, which are made when they are first used.",
    subcommands: [List.self, Delete.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the namespaces, most recent first.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let listed = try await configuration.withCatalog(LimitNamespaces.init) { namespaces in
          try await pageOptions.read { try await namespaces.list(page: $0) }
        }
        Output(isJSON: options.json).print(
          Self.table(listed.items), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("namespaces", listed.items) { json, namespace in json.object { $0.fields(of: namespace) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }

    private static func table(_ namespaces: [LimitNamespace]) -> Table {
      var table = Table(["CREATED", "NAME"])
      for namespace in namespaces { table.add([Timestamp.text(of: namespace.createdAt), namespace.name]) }
      return table
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Delete a namespace with its overrides.",
      discussion: "What its identifiers have used is forgotten. The next use makes the namespace again.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The namespace's name.", transform: ValidationError.parse(limit:)) var name: String

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let propagation = try await configuration.withCatalog(LimitNamespaces.init) {
          try await $0.delete(name, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "namespace \(name) deleted", json: .object { $0.propagation(propagation) })
      }
    }
  }
}

struct LimitOverridesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "overrides", abstract: "List, set and delete the overrides of a namespace.",
    subcommands: [List.self, Set.self, Delete.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the overrides of a namespace, most recent first.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The namespace's name.", transform: ValidationError.parse(limit:)) var namespace: String
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let listed = try await configuration.withCatalog(NamespaceOverrides.init) { overrides in
          try await pageOptions.read { try await overrides.list(in: namespace, page: $0) }
        }
        Output(isJSON: options.json).print(
          Self.table(listed.items), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("overrides", listed.items) { json, override in json.object { $0.fields(of: override) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }

    private static func table(_ overrides: [NamespaceOverride]) -> Table {
      var table = Table(["ID", .number("LIMIT"), .number("WINDOW MS"), "IDENTIFIER"])
      for override in overrides {
        table.add([
          override.id.text, "\(override.limit.limit)", "\(override.limit.windowMilliseconds)", override.identifier,
        ])
      }
      return table
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set the numbers for an identifier, or for all that a pattern matches.",
      discussion: "The numbers replace those of callers, on every instance. Makes the namespace if there is none.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The namespace's name.", transform: ValidationError.parse(limit:)) var namespace: String
    @Argument(
      help: "The identifier, or a pattern in which * stands for any characters.",
      transform: ValidationError.parse(limit:))
    var identifier: String
    @Option(help: "The maximum cost within a window. 0 refuses whatever costs something.") var limit: Int
    @Option(help: "The length of the window, in milliseconds: a multiple of 1000.") var windowMilliseconds: Int

    func validate() throws {
      let range = StandaloneLimit.limitRange
      guard range.contains(limit) else {
        throw ValidationError("--limit must be a whole number from \(range.lowerBound) to \(range.upperBound).")
      }
      guard StandaloneLimit.isValid(windowMilliseconds: windowMilliseconds) else {
        throw ValidationError("--window-milliseconds \(StandaloneLimit.windowProblem).")
      }
    }

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let outcome = try await configuration.withCatalog(NamespaceOverrides.init) {
          try await $0.set(
            WindowLimit(limit: limit, windowMilliseconds: windowMilliseconds), for: identifier, in: namespace,
            by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "override \(outcome.override.id.text): \(limit) in \(windowMilliseconds) ms for \(identifier) in "
            + namespace,
          json: .object { json in
            json.fields(of: outcome.override)
            json.propagation(outcome.propagation)
          })
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete the override of an identifier or of a pattern.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The namespace's name.", transform: ValidationError.parse(limit:)) var namespace: String
    @Argument(help: "The identifier or the pattern, as it was set.", transform: ValidationError.parse(limit:))
    var identifier: String

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let propagation = try await configuration.withCatalog(NamespaceOverrides.init) { overrides in
          guard let override = try await overrides.list(in: namespace, identifier: identifier).items.first else {
            throw PortalError.notFound
          }
          return try await overrides.delete(override.id, in: namespace, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "override of \(identifier) in \(namespace) deleted", json: .object { $0.propagation(propagation) })
      }
    }
  }
}

extension ValidationError {
  /// The name of a namespace, an identifier or a pattern.
  fileprivate static func parse(limit text: String) throws -> String {
    guard LimitText.isValid(text) else {
      throw ValidationError(
        "a namespace or an identifier must have 1 to \(LimitText.lengthMax) characters, and no control characters.")
    }
    return text
  }
}

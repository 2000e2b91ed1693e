import ArgumentParser
import JSON
import Portal
import PortalAPI
import PortalHTTP

struct RolesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "roles", abstract: "Manage the roles, which are sets of permissions that keys get together.",
    subcommands: [List.self, Create.self, Update.self, Delete.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the roles, most recent first.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let listed = try await configuration.withCatalog(CatalogRoles.init) { roles in
          try await pageOptions.read { try await roles.list(page: $0) }
        }
        var table = Table(["ID", "NAME", "PERMISSIONS", "DESCRIPTION"])
        for role in listed.items {
          table.add([
            role.id.text, role.settings.name, role.permissions.joined(separator: " "), role.settings.description,
          ])
        }
        Output(isJSON: options.json).print(
          table, hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("roles", listed.items) { json, role in json.object { $0.fields(of: role) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Create a role.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The name, which is accepted in place of the id.") var name: String
    @Option(help: "Whom it is for.") var description: String?
    @Option(
      name: .customLong("permission"), help: "The id or slug of a permission of the role; can be repeated.",
      transform: ValidationError.parse(catalog:))
    var permissions: [CatalogReference] = []

    func validate() throws {
      try ValidationError.check(catalogName: name, "NAME")
      _ = try description.map { try ValidationError.check(description: $0) }
    }

    func run() async throws {
      let settings = CatalogRole.Settings(
        name: name, description: try description.map { try ValidationError.check(description: $0) })
      let configuration = try await options.load()
      try await reportingFailure {
        let role = try await configuration.withCatalog(CatalogRoles.init) {
          try await $0.create(settings, permissions: permissions, by: commandCaller)
        }
        Output(isJSON: options.json).print("role " + role.text, json: .object { $0.fields(of: role) })
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change a role.",
      discussion: "What is not given stays. A change takes effect at once for all keys that have the role.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The role's id or name.", transform: ValidationError.parse(catalog:)) var role: CatalogReference
    @Option(help: "The new name.") var name: String?
    @Option(help: "Whom it is for; an empty text removes the description.") var description: String?
    @Option(
      name: .customLong("permission"),
      help: "The id or slug of a permission; can be repeated. Those given are all that the role has afterwards.",
      transform: ValidationError.parse(catalog:))
    var permissions: [CatalogReference] = []
    @Flag(name: .customLong("no-permissions"), help: "Remove all permissions from the role.") var hasNone = false

    func validate() throws {
      if let name { try ValidationError.check(catalogName: name, "--name") }
      if let description, !description.isEmpty { _ = try ValidationError.check(description: description) }
      guard permissions.isEmpty || !hasNone else {
        throw ValidationError("--permission and --no-permissions cannot be combined.")
      }
    }

    func run() async throws {
      let changes = CatalogRoleChanges(
        name: name, description: try ValidationError.change(ofDescription: description),
        permissions: permissions.isEmpty && !hasNone ? nil : permissions)
      let configuration = try await options.load()
      try await reportingFailure {
        let (changed, propagation) = try await configuration.withCatalog(CatalogRoles.init) {
          try await $0.update(role, changes, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "role " + changed.text,
          json: .object { json in
            json.fields(of: changed)
            json.propagation(propagation)
          })
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete a role that no key has.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The role's id or name.", transform: ValidationError.parse(catalog:)) var role: CatalogReference

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        try await configuration.withCatalog(CatalogRoles.init) { try await $0.delete(role, by: commandCaller) }
        Output(isJSON: options.json).print("role \(role.text) deleted", json: .object { _ in })
      }
    }
  }
}

extension CatalogRole {
  fileprivate var text: String { "\(id.text) \(settings.name): \(permissions.joined(separator: " "))" }
}

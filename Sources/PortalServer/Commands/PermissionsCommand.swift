import ArgumentParser
import JSON
import Portal
import PortalAPI
import PortalHTTP

struct PermissionsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "permissions", abstract: "Manage the permissions that keys may be granted.",
    subcommands: [List.self, Create.self, Update.self, Delete.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the permissions, most recent first.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let listed = try await configuration.withCatalog(CatalogPermissions.init) { permissions in
          try await pageOptions.read { try await permissions.list(page: $0) }
        }
        var table = Table(["ID", "SLUG", "DESCRIPTION"])
        for permission in listed.items {
          table.add([permission.id.text, permission.settings.slug, permission.settings.description])
        }
        Output(isJSON: options.json).print(
          table, hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("permissions", listed.items) { json, permission in json.object { $0.fields(of: permission) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Create a permission.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The slug, which verifications name.") var slug: String
    @Option(help: "What it allows.") var description: String?

    func validate() throws {
      try ValidationError.check(catalogName: slug, "SLUG")
      _ = try description.map { try ValidationError.check(description: $0) }
    }

    func run() async throws {
      let settings = CatalogPermission.Settings(
        slug: slug, description: try description.map { try ValidationError.check(description: $0) })
      let configuration = try await options.load()
      try await reportingFailure {
        let permission = try await configuration.withCatalog(CatalogPermissions.init) {
          try await $0.create(settings, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "permission \(permission.id.text) \(permission.settings.slug)", json: .object { $0.fields(of: permission) })
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change a permission.",
      discussion: "What is not given stays. Verifications must name a new slug from then on.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The permission's id or slug.", transform: ValidationError.parse(catalog:))
    var permission: CatalogReference
    @Option(help: "The new slug.") var slug: String?
    @Option(help: "What it allows; an empty text removes the description.") var description: String?

    func validate() throws {
      if let slug { try ValidationError.check(catalogName: slug, "--slug") }
      if let description, !description.isEmpty { _ = try ValidationError.check(description: description) }
    }

    func run() async throws {
      let changes = CatalogPermissionChanges(
        slug: slug, description: try ValidationError.change(ofDescription: description))
      let configuration = try await options.load()
      try await reportingFailure {
        let (changed, propagation) = try await configuration.withCatalog(CatalogPermissions.init) {
          try await $0.update(permission, changes, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "permission \(changed.id.text) \(changed.settings.slug)",
          json: .object { json in
            json.fields(of: changed)
            json.propagation(propagation)
          })
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Delete a permission that neither roles nor keys have.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The permission's id or slug.", transform: ValidationError.parse(catalog:))
    var permission: CatalogReference

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        try await configuration.withCatalog(CatalogPermissions.init) {
          try await $0.delete(permission, by: commandCaller)
        }
        Output(isJSON: options.json).print("permission \(permission.text) deleted", json: .object { _ in })
      }
    }
  }
}

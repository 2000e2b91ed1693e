// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .treatAllWarnings(as: .error),
]

let package = Package(
  name: "latchkey",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "latchkey", targets: ["PortalServer"]),
    .library(name: "CLibPQ", targets: ["CLibPQ"]),
    .library(name: "Postgres", targets: ["Postgres"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"]), .brew(["curl"])]),
    .systemLibrary(
      name: "CIDN2", pkgConfig: "libidn2", providers: [.apt(["libidn2-dev"]), .brew(["libidn2"])]),
    .systemLibrary(
      name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"]), .brew(["libpq"])]),
    .systemLibrary(
      name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"]), .brew(["openssl"])]
    ),

    .systemLibrary(name: "CUnistring", providers: [.apt(["libunistring-dev"]), .brew(["libunistring"])]),

    // The files of migrations/, as bytes in the program.
    .target(name: "CMigrations"),

    // The files openapi.yaml and openapi.json, as bytes in the program.
    .target(name: "COpenAPI"),

    // The files of pages, as bytes in the program.
    .target(name: "CAssets", exclude: ["icon.svg", "latchkey.css"]),

    .target(name: "JSON", swiftSettings: settings),
    .target(
      name: "Postgres",
      dependencies: [
        "CLibPQ",
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: settings
    ),
    .target(
      name: "Portal",
      dependencies: [
        "CCurl",
        "CIDN2",
        "CMigrations",
        "COpenSSL",
        "CUnistring",
        "JSON",
        "Postgres",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: settings
    ),
    .target(
      name: "PortalViews",
      dependencies: ["CAssets", "JSON", "Portal", .product(name: "Crypto", package: "swift-crypto")],
      swiftSettings: settings
    ),
    .target(
      name: "PortalHTTP",
      dependencies: [
        "JSON",
        "Portal",
        "Postgres",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "NIOTLS", package: "swift-nio"),
      ],
      swiftSettings: settings
    ),
    .target(
      name: "PortalPages",
      dependencies: [
        "JSON",
        "Portal",
        "PortalHTTP",
        "PortalViews",
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: settings
    ),
    .target(
      name: "PortalAPI",
      dependencies: [
        "COpenAPI",
        "JSON",
        "Portal",
        "PortalHTTP",
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
        .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      swiftSettings: settings
    ),
    .target(
      name: "PortalApplication",
      dependencies: [
        "Portal",
        "PortalAPI",
        "PortalHTTP",
        "PortalPages",
        "Postgres",
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: settings
    ),
    .executableTarget(
      name: "PortalServer",
      dependencies: [
        "JSON",
        "Portal",
        "PortalAPI",
        "PortalApplication",
        "PortalHTTP",
        "Postgres",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Configuration", package: "swift-configuration"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
      ],
      swiftSettings: settings
    ),

    .target(name: "PostgresTesting", path: "Tests/PostgresTesting", swiftSettings: settings),
    .target(
      name: "PortalTesting",
      dependencies: [
        "JSON",
        "Portal",
        "PortalAPI",
        "PortalApplication",
        "PortalHTTP",
        "Postgres",
        "PostgresTesting",
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdTesting", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      path: "Tests/PortalTesting",
      swiftSettings: settings
    ),
    .testTarget(
      name: "PostgresTests",
      dependencies: [
        "Postgres", "PostgresTesting", .product(name: "ServiceLifecycleTestKit", package: "swift-service-lifecycle"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "JSONTests", dependencies: ["JSON", "PortalTesting", "PostgresTesting"], swiftSettings: settings),
    .testTarget(
      name: "PortalTests", dependencies: ["JSON", "Portal", "PortalTesting", "Postgres", "PostgresTesting"],
      swiftSettings: settings),
    .testTarget(
      name: "PortalHTTPTests",
      dependencies: ["JSON", "Portal", "PortalHTTP", "PortalTesting", "PostgresTesting"], swiftSettings: settings),
    .testTarget(
      name: "PortalAPITests",
      dependencies: [
        "JSON", "Portal", "PortalAPI", "PortalApplication", "PortalHTTP", "PortalTesting", "Postgres",
        "PostgresTesting",
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "PortalViewsTests", dependencies: ["JSON", "Portal", "PortalTesting", "PortalViews"],
      swiftSettings: settings),
    .testTarget(
      name: "PortalPagesTests",
      dependencies: [
        "JSON", "Portal", "PortalApplication", "PortalHTTP", "PortalPages", "PortalTesting", "PortalViews", "Postgres",
        "PostgresTesting",
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "HummingbirdTesting", package: "hummingbird"),
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "PortalServerTests",
      dependencies: [
        "JSON", "Portal", "PortalAPI", "PortalApplication", "PortalHTTP", "PortalServer", "PortalTesting", "Postgres",
        "PostgresTesting",
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdTesting", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
  ]
)

// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "latchkey-benchmarks",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(name: "latchkey", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
  ],
  targets: [
    .target(name: "CBench"),
    .executableTarget(
      name: "LatchkeyBenchmarks",
      dependencies: [
        "CBench",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "CLibPQ", package: "latchkey"),
        .product(name: "Postgres", package: "latchkey"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .treatAllWarnings(as: .error),
      ]),
  ]
)

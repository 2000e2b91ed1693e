import Foundation

/// A running `latchkey serve`.
struct LatchkeyServer {
  let process: ServerProcess
  let port: Int
  let token: String

  init(
    binary: String, database: BenchmarkDatabase, environment: [String: String] = [:], cpus: CPUs?, folder: String,
    name: String
  ) throws {
    let port = unusedPort()
    process = try ServerProcess(
      [binary, "serve"],
      environment: [
        "DATABASE_URL": database.url, "HTTP_HOST": "127.0.0.1", "HTTP_PORT": "\(port)",
        "USAGE_SPOOL": "\(folder)/usage-\(name)", "SESSION_RATE_LIMIT_PER_MINUTE": "0",
        "ADDRESS_RATE_LIMIT_PER_MINUTE": "0",
      ].merging(environment) { $1 },
      cpus: cpus, log: "\(folder)/\(name).log")
    try process.waitUntil("latchkey serve") { (try? BlockingConnection(port: port).get("/readyz").status) == 200 }
    token = try database.insertServiceToken()
    self.port = port
  }

  /// Verifies each known key once, a thousand per request.
  func verifyAll(of mix: KeyMix, progress: (_ verified: Int) throws -> Void = { _ in }) throws {
    let connection = try BlockingConnection(port: port)
    let size = 1_000
    let template = RequestTemplate.batch(of: size, token: token)
    for start in stride(from: 0, to: mix.knownCount, by: size) {
      var request = template.bytes
      for (index, offset) in template.keyOffsets.enumerated() {
        let key = (start + index) % mix.knownCount
        request.replaceSubrange(
          offset..<(offset + KeyMix.keyLength),
          with: mix.texts[key * KeyMix.keyLength..<(key + 1) * KeyMix.keyLength])
      }
      var valid = 0
      try connection.request(request) { $0.forEachCodeInBody { if $0.equals("VALID") { valid += 1 } } }
      guard valid == size else {
        throw ServerProcess.Failure(description: "\(size - valid) of \(size) keys were not VALID")
      }
      try progress(start + size)
    }
  }

  /// Waits until at least `count` counters have been written.
  func waitUntilFlushed(_ count: Int) throws {
    try process.waitUntil("the flush of all counters", within: 120) {
      (try? metric("latchkey_usage_counters_flushed_total")).map { Int($0) >= count } ?? false
    }
  }

  /// The sum of a metric over its labels.
  func metric(_ name: String) throws -> Double {
    try BlockingConnection(port: port).get("/metrics").body.split(separator: "\n")
      .filter { $0.hasPrefix(name + " ") || $0.hasPrefix(name + "{") }
      .reduce(0) { $0 + (Double($1.split(separator: " ").last ?? "") ?? 0) }
  }
}

/// An nginx with one worker and the benchmark's configuration.
struct Nginx {
  let process: ServerProcess
  let port: Int

  /// `main` is configuration outside of the `http` block, `http` inside of it, and `locations` in the only server.
  init(main: String = "", http: String = "", locations: String, cpus: CPUs?, folder: String, name: String) throws {
    let (port, prefix) = (unusedPort(), "\(folder)/\(name)")
    try FileManager.default.createDirectory(atPath: prefix, withIntermediateDirectories: true)
    // As root, the worker would switch to a user without access to the folder.
    let user = geteuid() == 0 ? "user root;" : ""
    let temporaryPaths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { "\($0)_temp_path \($0);" }
    try """
    \(user) \(main)
    worker_processes 1; daemon off; pid nginx.pid; error_log error.log warn;
    events { worker_connections 4096; }
    http {
      access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
      \(temporaryPaths.joined(separator: " "))
      \(http)
      server { listen 127.0.0.1:\(port); \(locations) }
    }
    """.write(toFile: "\(prefix)/nginx.conf", atomically: true, encoding: .utf8)
    process = try ServerProcess(
      ["nginx", "-e", "\(prefix)/error.log", "-p", prefix, "-c", "\(prefix)/nginx.conf"], cpus: cpus,
      log: "\(folder)/\(name).log")
    try process.waitUntil("nginx") { (try? BlockingConnection(port: port).get("/").status) != nil }
    self.port = port
  }

  /// Answers each path with 200 and the given number of bytes in head and body. The body has at least one.
  static func returning(_ lengths: [String: Int], cpus: CPUs?, folder: String, name: String) throws -> Nginx {
    func locations(_ bodyLengths: [String: Int]) -> String {
      bodyLengths.map { "location = \($0) { return 200 \"\(String(repeating: "x", count: $1))\"; }" }
        .joined(separator: "\n")
    }
    // The length of nginx's heads is measured first.
    let trial = try Nginx(locations: locations(lengths), cpus: cpus, folder: folder, name: name)
    let bodyLengths = try lengths.reduce(into: [String: Int]()) { bodyLengths, entry in
      let headLength = try BlockingConnection(port: trial.port).answer(to: entry.key) { $0.length - $0.body.count }
      bodyLengths[entry.key] = max(1, entry.value - headLength)
    }
    trial.process.stop()
    return try Nginx(locations: locations(bodyLengths), cpus: cpus, folder: folder, name: name)
  }

  /// Answers like `GET /v1/authorize`, without limits and counts: from its worker's cache of the hashes of good keys,
  /// otherwise from Redis. A revoked key is good until its cache entry expires.
  static func authorizing(redis: Redis, cpus: CPUs?, folder: String, name: String) throws -> Nginx {
    try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: true)
    try luaModule(redis).write(toFile: "\(folder)/\(name)/authorize.lua", atomically: true, encoding: .utf8)
    let modules = "/usr/lib/nginx/modules"
    return try Nginx(
      main: "load_module \(modules)/ndk_http_module.so; load_module \(modules)/ngx_http_lua_module.so;",
      http: """
        lua_package_path "\(folder)/\(name)/?.lua;;";
        init_by_lua_block { require "authorize" }
        """,
      locations: #"location = /v1/authorize { content_by_lua_block { require("authorize").run() } }"#, cpus: cpus,
      folder: folder, name: name)
  }

  /// SHA-256 is from OpenSSL. Only misses query Redis, so the cost of the simple client is negligible.
  private static func luaModule(_ redis: Redis) -> String {
    #"""
    local hasher = require("nginx.sha256"):new()
    local cache = require("resty.lrucache").new(200000)
    local lifetime_seconds = 300

    local function read(hash)
      local socket = ngx.socket.tcp()
      assert(socket:connect("unix:\#(redis.socketPath)"))
      assert(socket:send({"*2\r\n$3\r\nGET\r\n$32\r\n", hash, "\r\n"}))
      local length = tonumber(assert(socket:receive()):sub(2))
      local value = length >= 0 and assert(socket:receive(length + 2)):sub(1, length) or nil
      socket:setkeepalive(60000, 64)
      return value
    end

    local function find(key)
      hasher:reset()
      hasher:update(key)
      local hash = hasher:final()
      local entry = cache:get(hash)
      if entry then return entry end
      local value = read(hash)
      if not value then return nil end
      local id, account, scopes = value:match("^(%S+) (%S+) (.+)$")
      entry = { id = id, account = account, scopes = scopes }
      cache:set(hash, entry, lifetime_seconds)
      return entry
    end

    local function run()
      local authorization = ngx.var.http_authorization
      local entry = authorization and authorization:sub(1, 7) == "Bearer " and find(authorization:sub(8))
      local header = ngx.header
      header["Content-Length"] = 0
      if entry then
        header["X-Latchkey-Code"] = "VALID"
        header["X-Latchkey-Key-Id"] = entry.id
        header["X-Latchkey-Account-Id"] = entry.account
        header["X-Latchkey-Scopes"] = entry.scopes
      else
        ngx.status = 401
        header["X-Latchkey-Code"] = "NOT_FOUND"
        header["WWW-Authenticate"] = 'Bearer realm="api"'
      end
      ngx.send_headers()
    end

    return { run = run }
    """#
  }
}

/// A redis-server on a Unix socket, without persistence.
struct Redis {
  let process: ServerProcess
  let socketPath: String

  init(cpus: CPUs?, folder: String) throws {
    let path = "\(folder)/redis.sock"
    process = try ServerProcess(
      ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder],
      cpus: cpus, log: "\(folder)/redis.log")
    try process.waitUntil("redis-server") { (try? BlockingConnection(path: path)) != nil }
    socketPath = path
  }

  /// Stores the id, account and scopes of each key under its hash.
  func insertKeys(of database: BenchmarkDatabase) throws {
    let rows = try database.rows(
      "select encode(key_hash, 'hex'), id || ' ' || account_id || ' ' || array_to_string(scopes, ' ') from api_keys")
    let connection = try BlockingConnection(path: socketPath)
    for start in stride(from: 0, to: rows.count, by: 1_000) {
      let part = rows[start..<min(start + 1_000, rows.count)]
      var commands: [UInt8] = []
      for row in part {
        let digits = Array(row[0].utf8).map { Int($0) - ($0 < 58 ? 48 : 87) }
        commands += "*3\r\n$3\r\nSET\r\n$32\r\n".utf8
        commands += stride(from: 0, to: 64, by: 2).map { UInt8(16 * digits[$0] + digits[$0 + 1]) }
        commands += "\r\n$\(row[1].utf8.count)\r\n\(row[1])\r\n".utf8
      }
      try connection.send(commands)
      var answers: [UInt8] = []
      while answers.count < 5 * part.count { try connection.receive(into: &answers) }
      guard answers == Array(String(repeating: "+OK\r\n", count: part.count).utf8) else {
        throw ServerProcess.Failure(description: "Redis did not store all keys")
      }
    }
  }
}

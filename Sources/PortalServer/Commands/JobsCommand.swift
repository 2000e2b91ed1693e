import ArgumentParser
import Foundation
import JSON
import Portal
import PortalHTTP
import Postgres

struct JobsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "jobs", abstract: "List the background jobs, and run them now.",
    subcommands: [List.self, Run.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List the jobs with their last runs on any instance.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (jobs, report) = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let jobs = Jobs(pool: pool, configuration)
          return (jobs.all, try await jobs.report())
        }
        Output(isJSON: options.json).print(
          JobsCommand.table(jobs, report), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("jobs", jobs) { json, job in json.object { $0.job(job, report.records[job.name]) } }
            json.field("unplacedUsageCounters", report.unplacedUsageCount)
          })
        if report.unplacedUsageCount > 0 {
          tell(
            """
            \(report.unplacedUsageCount) counters are in a default partition; \
            latchkey jobs run usage-partitions moves them
            """)
        }
      }
    }
  }

  struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run a job now, unless it is already running.",
      discussion: "The servers wait for the job's interval from then on.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The job's name, as listed by latchkey jobs.") var name: String

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let outcome = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let jobs = Jobs(pool: pool, configuration)
          guard let job = jobs.all.first(where: { $0.name == name }) else {
            throw ValidationError("there is no job \(name); latchkey jobs lists them.")
          }
          return await jobs.run(job, isForced: true, by: commandCaller)
        }
        switch outcome {
        case .done(let count):
          Output(isJSON: options.json).print(
            "\(name): done, \(count)",
            json: .object { json in
              json.field("name", name)
              json.field("count", count)
            })
        case .failed(let reason): throw CommandFailure(description: "\(name) failed: \(reason)")
        case .skipped: throw CommandFailure(description: "\(name) is already running")
        }
      }
    }
  }

  private static func table(_ jobs: [Job], _ report: JobReport) -> Table {
    var table = Table(["NAME", "BEGUN", .number("TOOK"), "BY", "RESULT"])
    for job in jobs {
      guard let record = report.records[job.name] else {
        table.add([job.name, nil, nil, nil, "never run"])
        continue
      }
      let duration = record.isUnfinished ? nil : record.durationMilliseconds
      table.add([
        job.name, Timestamp.text(of: record.startedAt), duration.map { String(format: "%.1f ms", $0) },
        record.instance, Self.result(of: record),
      ])
    }
    return table
  }

  private static func result(of record: JobRecord) -> String? {
    let failure = record.error.map { "failed (\(record.failureCount) times in all): \($0)" }
    if record.isUnfinished { return ["not finished", failure].compactMap(\.self).joined(separator: ", ") }
    return failure ?? record.resultCount.map { "count \($0)" }
  }
}

/// The message of a command that fails with exit status 1.
struct CommandFailure: Error, CustomStringConvertible {
  var description: String
}

extension Jobs {
  fileprivate init(pool: PostgresPool, _ configuration: PortalConfiguration) {
    self.init(
      pool: pool, instance: "\(ProcessInfo.processInfo.hostName):jobs", retention: configuration.settings.retention,
      observer: Observer([]), outbox: Outbox(isOpen: configuration.settings.mail != nil),
      box: configuration.settings.secretBox)
  }
}

extension JSONWriter {
  fileprivate mutating func job(_ job: Job, _ record: JobRecord?) {
    field("name", job.name)
    field("intervalSeconds", Int(job.interval / .seconds(1)))
    field("summary", job.summary)
    field("startedAt", record?.startedAt)
    field("finishedAt", record?.finishedAt)
    field("succeededAt", record?.succeededAt)
    field("durationMilliseconds", record?.durationMilliseconds)
    field("count", record?.resultCount)
    field("error", record?.error)
    field("failures", record?.failureCount ?? 0)
    field("instance", record?.instance)
  }
}

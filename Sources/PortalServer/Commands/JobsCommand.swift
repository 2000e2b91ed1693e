import ArgumentParser
import Foundation
import Portal
import PortalHTTP
import Postgres

struct JobsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "jobs", abstract: "Look at what is done in the background, and do it now.",
    subcommands: [List.self, Run.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List the jobs with their last runs, on whichever instance.")

    @OptionGroup var options: ConfigurationOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (jobs, report) = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let jobs = Jobs(pool: pool, configuration)
          return (jobs.all, try await jobs.report())
        }
        Output(isJSON: options.json).print(
          JobsCommand.text(jobs, report),
          json: .object { json in
            json.array("jobs", jobs) { json, job in json.object { $0.job(job, report.records[job.name]) } }
            json.field("unplacedUsageCounters", report.unplacedUsageCount)
          })
      }
    }
  }

  struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run a job now, unless it runs already.",
      discussion: "The others wait for their intervals from then on.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The job's name, as latchkey jobs lists it.") var name: String

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
        case .skipped: throw CommandFailure(description: "\(name) runs already")
        }
      }
    }
  }

  private static func text(_ jobs: [Job], _ report: JobReport) -> String {
    var lines = jobs.map { job in
      let name = job.name.padding(toLength: 17, withPad: " ", startingAt: 0)
      guard let record = report.records[job.name] else { return "\(name) never run" }
      return name + " " + Self.text(record)
    }
    if report.unplacedUsageCount > 0 {
      lines.append(
        """
        NOTE: \(report.unplacedUsageCount) counters stand in a default partition; \
        latchkey jobs run usage-partitions moves them.
        """)
    }
    return lines.joined(separator: "\n")
  }

  private static func text(_ record: JobRecord) -> String {
    var parts = ["begun \(record.startedAt.formatted(.iso8601)) by \(record.instance)"]
    if record.isUnfinished {
      parts.append("not finished")
    } else if let duration = record.durationMilliseconds {
      parts.append(String(format: "took %.1f ms", duration))
    }
    if let error = record.error {
      parts.append("failed (\(record.failureCount) times in all): \(error)")
    } else if let count = record.resultCount {
      parts.append("count \(count)")
    }
    return parts.joined(separator: ", ")
  }
}

/// What a command says of itself before it exits with 1.
struct CommandFailure: Error, CustomStringConvertible {
  var description: String
}

extension Jobs {
  fileprivate init(pool: PostgresPool, _ configuration: PortalConfiguration) {
    self.init(
      pool: pool, instance: "\(ProcessInfo.processInfo.hostName):jobs", retention: configuration.retention,
      observer: Observer([]), outbox: Outbox(isOpen: configuration.mail != nil))
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

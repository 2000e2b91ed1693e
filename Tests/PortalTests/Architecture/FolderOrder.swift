/// A source file, by its path below the folder of its module: `Keys/Key.swift`.
struct SourceFile {
  let path: String
  let text: String

  /// Empty for a file that is in none.
  var folder: String { path.contains("/") ? String(path.prefix { $0 != "/" }) : "" }
}

/// The folders of a module as floors: a folder knows the folders on the floors below its own, and nothing else. Folders
/// on the same floor do not know each other.
///
/// What a folder declares are the types, functions and values that other files see, and the members that its extensions
/// add to types of other folders. A member is told from others by its name alone, so only those count whose name no
/// other folder declares.
struct FolderOrder {
  struct Violation: Equatable, CustomStringConvertible {
    let path: String
    let line: Int
    let name: String
    let folder: String
    let declaringFolder: String

    var description: String {
      "\(path):\(line): \(folder) names \(name) of \(declaringFolder), which is not below it"
    }
  }

  /// From the ground up. The folder "" holds the files that are in none.
  let floors: [[String]]

  init(_ floors: [[String]]) { self.floors = floors }

  /// Folders that the list has and the sources have not, or the other way round.
  func strayFolders(in files: [SourceFile]) -> [String] {
    Set(files.map(\.folder)).symmetricDifference(floors.joined()).sorted()
  }

  /// Names that a folder uses though they are declared on its own floor, in another folder, or above.
  func violations(in files: [SourceFile]) -> [Violation] {
    let names = files.map { (file: $0, names: SwiftNames($0.text)) }
    let folders = Dictionary(grouping: names, by: \.file.folder)
    let declaredIn = folders.mapValues { folder in
      folder.reduce(into: Set<String>()) { $0.formUnion($1.names.allDeclared) }
    }
    let visible = declarations(in: folders)
    let members = uniqueMembers(in: folders, declaredIn, visible)

    var violations: [Violation] = []
    for (file, names) in names {
      guard let floor = floor(of: file.folder) else { continue }
      for (name, isMember) in names.used {
        let found = isMember ? members[name.text] : visible[name.text] ?? members[name.text]
        guard let declaring = found, declaring != file.folder, let other = self.floor(of: declaring), other >= floor,
          declaredIn[file.folder]?.contains(name.text) == false
        else { continue }
        violations.append(
          Violation(
            path: file.path, line: name.line, name: name.text, folder: file.folder, declaringFolder: declaring))
      }
    }
    return violations
  }

  private func floor(of folder: String) -> Int? { floors.firstIndex { $0.contains(folder) } }

  private typealias Folders = [String: [(file: SourceFile, names: SwiftNames)]]

  private func declarations(in folders: Folders) -> [String: String] {
    var result: [String: String] = [:]
    for (folder, files) in folders {
      for name in files.flatMap(\.names.declared) { result[name.text] = folder }
    }
    return result
  }

  /// Of extensions of types that are declared elsewhere.
  private func uniqueMembers(
    in folders: Folders, _ declaredIn: [String: Set<String>], _ visible: [String: String]
  ) -> [String: String] {
    var result: [String: String] = [:]
    for (folder, files) in folders {
      for member in files.flatMap(\.names.extensionMembers) where visible[member.extended] != folder {
        let name = member.name.text.filter { $0 != ":" }
        let isUnique = declaredIn.allSatisfy { $0.key == folder || !$0.value.contains(name) }
        if isUnique { result[member.name.text] = folder }
      }
    }
    return result
  }
}

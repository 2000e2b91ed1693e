/// A source file, by its path below the folder of its module: `Keys/Key.swift`.
struct SourceFile {
  let path: String
  let text: String

  /// Empty for a file in no folder.
  var folder: String { path.contains("/") ? String(path.prefix { $0 != "/" }) : "" }
}

/// The folders of a module as floors: a folder knows only the folders on the floors below its own. Folders on the same
/// floor do not know each other.
///
/// A folder declares types, functions and values that other files see, and members that its extensions add to types of
/// other folders. Members are identified by name only, so a member counts only if no other folder declares its name.
struct FolderOrder {
  struct Violation: Equatable, CustomStringConvertible {
    let path: String
    let line: Int
    let name: String
    let folder: String
    let declaringFolder: String

    var description: String {
      "\(path):\(line): \(folder) uses \(name) of \(declaringFolder), which is not below it"
    }
  }

  /// The lowest first. The folder "" holds the files in no folder.
  let floors: [[String]]

  init(_ floors: [[String]]) { self.floors = floors }

  /// Folders that are only in the list or only in the sources.
  func strayFolders(in files: [SourceFile]) -> [String] {
    Set(files.map(\.folder)).symmetricDifference(floors.joined()).sorted()
  }

  /// The names that a folder uses and that another folder on its floor, or one above, declares.
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

  /// Members of extensions of types that are declared elsewhere.
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

extension String {
  /// A `like` pattern for texts that contain this one.
  var anywhere: String { "%" + withoutWildcards + "%" }

  /// This text with its wildcards escaped, so that it matches itself in a `like` pattern.
  var withoutWildcards: String {
    replacing("\\", with: "\\\\").replacing("%", with: "\\%").replacing("_", with: "\\_")
  }
}

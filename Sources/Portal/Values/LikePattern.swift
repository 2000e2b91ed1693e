extension String {
  /// A pattern of `like` for what contains it.
  var anywhere: String { "%" + withoutWildcards + "%" }

  /// As it stands for itself in a pattern of `like`.
  var withoutWildcards: String {
    replacing("\\", with: "\\\\").replacing("%", with: "\\%").replacing("_", with: "\\_")
  }
}

extension String {
  /// A `like` pattern for texts that contain this one.
  var anywhere: String { "%" + withoutWildcards + "%" }

  /// This text with its wildcards escaped, so that it matches itself in a `like` pattern. By scalars, as PostgreSQL
  /// reads it: a wildcard with a combining mark after it is another `Character`, but still a wildcard.
  var withoutWildcards: String {
    var scalars = UnicodeScalarView()
    for scalar in unicodeScalars {
      if scalar == "\\" || scalar == "%" || scalar == "_" { scalars.append("\\") }
      scalars.append(scalar)
    }
    return String(scalars)
  }
}

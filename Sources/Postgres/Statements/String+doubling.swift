extension String {
  /// The text with each of these characters doubled, for SQL in quotes. By scalars, as PostgreSQL reads it: a quote
  /// with a combining mark after it is another `Character`, but still ends what is quoted.
  func doubling(_ characters: Unicode.Scalar...) -> String {
    var scalars = UnicodeScalarView()
    for scalar in unicodeScalars {
      if characters.contains(scalar) { scalars.append(scalar) }
      scalars.append(scalar)
    }
    return String(scalars)
  }
}

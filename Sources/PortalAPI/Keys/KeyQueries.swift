import Portal

extension KeyFilter {
  init(_ query: Query) throws(InvalidRequest) {
    let tags = query.values("tag")
    guard tags.count <= KeyTag.countMax, tags.allSatisfy(KeyTag.isValid) else {
      throw InvalidRequest("query.tag", "must match ^[a-z0-9][a-z0-9:._-]{0,31}$, at most \(KeyTag.countMax) times")
    }
    let text = try query.text("q", 1...KeyFilter.textLengthMax)
    self.init(status: try query.choice("status", Key.Status.self), tags: tags, text: text)
  }
}

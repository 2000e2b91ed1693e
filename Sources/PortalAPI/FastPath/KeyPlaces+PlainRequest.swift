import HTTPTypes

extension KeyPlaces {
  /// Like ``key(in:)``, for a request that the decoder has not seen.
  func key(in request: PlainRequest, _ bytes: Span<UInt8>) -> Outcome {
    for place in places {
      var value: Range<Int>?
      switch place {
      case .apiKey: value = request.fields.apiKey
      case .authorization: value = request.fields.authorization
      case .field(let name):
        let values = request.values(of: name.canonicalName, bytes)
        guard values.count <= 1 else { return .unclear }
        value = values.first
      case .parameter(let name):
        value = request.fields.originalURI.flatMap { Self.parameter(name, in: $0, bytes) }
        if let value, Self.isEncoded(value, bytes) { return .unclear }
      }
      if let value, let key = Self.key(in: value, bytes) { return .key(key) }
    }
    return .none
  }
}

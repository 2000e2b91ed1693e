extension Array {
  /// All permutations of the elements.
  var permutations: [[Element]] {
    guard count > 1 else { return [self] }
    return indices.flatMap { index in
      var rest = self
      let one = rest.remove(at: index)
      return rest.permutations.map { [one] + $0 }
    }
  }
}

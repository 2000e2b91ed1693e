/// The fields of a form. Each has a label, and its problems beside it. Its id is its name.
extension FormState {
  package struct Option: Sendable {
    package var value: String
    package var label: String
    package var hint: String?

    package init(_ value: String, _ label: String, hint: String? = nil) {
      (self.value, self.label, self.hint) = (value, label, hint)
    }
  }

  /// What a line of text is, for the browser's keyboard and its checks.
  package enum Kind {
    case text, email, search, date, number

    fileprivate var attributes: HTML {
      switch self {
      case .text: "type=\"text\""
      case .email: "type=\"email\""
      case .search: "type=\"search\""
      case .date: "type=\"date\""
      case .number: "type=\"text\" inputmode=\"numeric\""
      }
    }
  }

  /// The problems that belong to no field, and links to those that do. Empty without problems.
  package var summary: HTML {
    if problems.isEmpty { return "" }
    func item(_ problem: Problem) -> HTML {
      guard let field = problem.field else { return "<li>\(problem.message)</li>" }
      return "<li><a href=\"#\(field)\">\(problem.message)</a></li>"
    }
    return """
      <div class="note bad" role="alert" id="problems"><h2>Nothing has been changed yet</h2>
      <ul>\(each: problems, item)</ul></div>
      """
  }

  package func line(
    _ name: String, _ label: String, _ kind: Kind = .text, hint: String? = nil, autocomplete: String = "off",
    isRequired: Bool = false, isShort: Bool = false
  ) -> HTML {
    """
    <div class="field"><label for="\(name)">\(label)</label>\(notes(name, hint))
    <input id="\(name)" name="\(name)" \(kind.attributes) value="\(value(name))" autocomplete="\(autocomplete)"\
    \(when: isRequired, " required")\(when: isShort, " class=\"short\"")\(described(name, hint))></div>
    """
  }

  /// A field for a secret, which is always empty at first.
  package func secret(_ name: String, _ label: String, hint: String? = nil, autocomplete: String) -> HTML {
    """
    <div class="field"><label for="\(name)">\(label)</label>\(notes(name, hint))
    <input id="\(name)" name="\(name)" type="password" autocomplete="\(autocomplete)"
    required\(described(name, hint))></div>
    """
  }

  /// A field for a code or a key that is pasted, which is always empty at first.
  package func code(
    _ name: String, _ label: String, hint: String? = nil, autocomplete: String = "off", isRequired: Bool = true
  ) -> HTML {
    """
    <div class="field"><label for="\(name)">\(label)</label>\(notes(name, hint))
    <input id="\(name)" name="\(name)" type="text" autocomplete="\(autocomplete)" autocapitalize="none" \
    spellcheck="false"\(when: isRequired, " required")\(described(name, hint))></div>
    """
  }

  package func lines(_ name: String, _ label: String, hint: String? = nil) -> HTML {
    // A line break right after the tag is not part of the value.
    """
    <div class="field"><label for="\(name)">\(label)</label>\(notes(name, hint))
    <textarea id="\(name)" name="\(name)" rows="3"\(described(name, hint))>
    \(value(name))</textarea></div>
    """
  }

  package func choice(_ name: String, _ label: String, _ options: [Option], hint: String? = nil) -> HTML {
    func row(_ numbered: (offset: Int, element: Option)) -> HTML {
      let (id, option) = ("\(name)-\(numbered.offset)", numbered.element)
      let hint: HTML? = option.hint.map { "<br><span class=\"quiet small\">\($0)</span>" }
      return """
        <label class="option" for="\(id)"><input id="\(id)" type="radio" name="\(name)" value="\(option.value)"\
        \(when: value(name) == option.value, " checked")><span>\(option.label)\(hint)</span></label>

        """
    }
    return """
      <fieldset class="field" id="\(name)"\(described(name, hint))><legend>\(label)</legend>\(notes(name, hint))
      \(each: Array(options.enumerated()), row)</fieldset>
      """
  }

  package func menu(
    _ name: String, _ label: String, _ options: [Option], hint: String? = nil, id: String? = nil
  ) -> HTML {
    let id = id ?? name
    func item(_ option: Option) -> HTML {
      "<option value=\"\(option.value)\"\(when: value(name) == option.value, " selected")>\(option.label)</option>"
    }
    return """
      <div class="field"><label for="\(id)">\(label)</label>\(notes(name, hint))
      <select id="\(id)" name="\(name)"\(described(name, hint))>\(each: options, item)</select></div>
      """
  }

  package func hidden(_ name: String) -> HTML {
    "<input type=\"hidden\" name=\"\(name)\" value=\"\(value(name))\">"
  }

  private func notes(_ name: String, _ hint: String?) -> HTML {
    let problem = problems(of: name).joined(separator: " ")
    let hint: HTML? = hint.map { "<p class=\"hint\" id=\"\(name)-hint\">\($0)</p>" }
    return "\(hint)\(when: !problem.isEmpty, "<p class=\"problem\" id=\"\(name)-problem\">\(problem)</p>")"
  }

  private func described(_ name: String, _ hint: String?) -> HTML {
    let isWrong = !problems(of: name).isEmpty
    let ids = (hint == nil ? [] : [name + "-hint"]) + (isWrong ? [name + "-problem"] : [])
    if ids.isEmpty { return "" }
    return " aria-describedby=\"\(ids.joined(separator: " "))\"\(when: isWrong, " aria-invalid=\"true\"")"
  }
}

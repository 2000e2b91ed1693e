import Foundation
import Portal
import PortalHTTP
import PortalPages
import PortalViews
import Testing

@Suite("The fields of a form")
struct FormFieldsTests {
  private func fields(_ text: String) throws -> FormFields { try FormFields(Array(text.utf8)) }

  @Test("values are decoded as browsers encode them, and line breaks become line feeds")
  func decoding() throws {
    var form = try fields("a=1+2%2B3&b=x%0D%0Ay&c&d=%C3%A9&a=second&=unnamed")
    #expect(form.text("a") == "1 2+3" && form.text("b") == "x\ny" && form.text("c") == "" && form.text("d") == "é")
    #expect(form.text("missing") == "" && form.isGood)
    #expect(form.words("a") == ["1", "2+3"])
  }

  @Test("what is not percent-encoded UTF-8, or has too many fields, is refused as a whole")
  func refused() {
    for text in ["a=%", "a=%zz", "a=%FF", "%C3=1", String(repeating: "a=1&", count: 201)] {
      #expect(throws: InvalidRequest.self) { _ = try FormFields(Array(text.utf8)) }
    }
  }

  @Test("a problem keeps what was typed, but never a secret")
  func state() throws {
    var form = try fields("name=+&password=short&email=nobody&role=king&count=1.5")
    #expect(form.line("name", 1...10, "Enter a name.") == nil)
    #expect(form.newPassword("password") == nil)
    #expect(form.email("email") == nil)
    #expect((form.choice("role", "Choose a role.") as MemberRole?) == nil)
    #expect(form.integer("count", 1...10, "Enter a number.") == nil)
    #expect(form.state.value("name") == " " && form.state.value("email") == "nobody")
    #expect(form.state.value("password") == "")
    #expect(form.state.problems.map(\.field) == ["name", "password", "email", "role", "count"])
    #expect(!form.isGood)
  }

  @Test("what the domain refuses stands at the field of the form")
  func domain() throws {
    var form = try fields("")
    form.refuse([
      FieldProblem(.scope(3), "is not covered"), FieldProblem(.expiresAt, "is required"), FieldProblem(.plan, "x"),
    ])
    #expect(form.state.problems.map(\.field) == ["scopes", "expires", nil])
    #expect(form.state.problems.first?.message == "A scope is not covered.")
  }
}

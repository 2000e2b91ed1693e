import Foundation
import PortalTesting
import PortalViews
import Testing

@testable import Portal

@Suite("All pages")
struct PageTests {
  private let reader = Frame(reader: .init(email: hostile, accountName: hostile, isSuspended: true))

  private func text(_ page: any PortalPage, _ frame: Frame) -> String {
    String(decoding: page.document(in: frame).bytes, as: UTF8.self)
  }

  @Test("every page is well formed and follows the rules, whatever texts it has")
  func wellFormed() {
    for (name, page) in allPages() {
      for frame in [Frame(), reader] {
        let document = HTMLDocument(text(page, frame))
        #expect(document.problems == [], "\(name)")
        #expect(document.all("svg").allSatisfy { $0.attributes["onload"] == nil }, "\(name)")
      }
    }
  }

  @Test("no text becomes a tag")
  func escaped() {
    for (name, page) in allPages() {
      let text = text(page, reader)
      #expect(!text.contains("<svg onload") && !text.contains("</script") && !text.contains("<!--"), "\(name)")
    }
  }

  @Test("a page in the navigation is the current one there, and only it")
  func navigation() throws {
    for (name, page) in allPages() {
      let document = HTMLDocument(text(page, reader))
      let current = document.all("a").filter { $0.attributes["aria-current"] == "page" }
      #expect(current.count == (page.section == nil ? 0 : 1), "\(name)")
    }
  }

  @Test("a problem stands beside its field, and at the top with a link to it")
  func problems() {
    var form = FormState(["name": "x"])
    form.refuse("name", "Too short.")
    let document = HTMLDocument(
      text(KeyFormPage.create(form, makeKey().rules.plan), reader))
    let field = document.all("input").first { $0.attributes["name"] == "name" }
    #expect(field?.attributes["aria-invalid"] == "true" && field?.attributes["value"] == "x")
    #expect(field?.attributes["aria-describedby"] == "name-hint name-problem")
    #expect(document.all("p").contains { $0.attributes["id"] == "name-problem" && $0.text == "Too short." })
    #expect(document.all("a").contains { $0.attributes["href"] == "#name" && $0.text == "Too short." })
  }

  @Test("fields for secrets are always empty")
  func secrets() {
    var form = FormState()
    for name in ["password", "newPassword", "token", "code", "copy"] { form.set(name, "typed before") }
    for page: any PortalPage in [
      SignInPage(form, needsCode: true, isSignUpOpen: true), SignUpPage(form), MailedCodePage.resetPassword(form),
      MailedCodePage.acceptInvitation(form),
    ] {
      #expect(!text(page, Frame()).contains("typed before"))
    }
  }

  @Test("days that are not final are marked, and what is not known is left out")
  func finality() {
    let yesterday = now.adding(days: -1)
    let open = text(UsagePage(makeReport(completeThrough: yesterday), names: [:], FormState()), reader)
    #expect(open.components(separatedBy: "class=\"open\"").count == 3)
    #expect(open.contains("final until") && open.contains("29 Nov 2026, 18:05 UTC"))
    let unknown = text(UsagePage(makeReport(completeThrough: .distantPast), names: [:], FormState()), reader)
    #expect(!unknown.contains("final until"))
    // Nothing was reported, so there is no latency.
    #expect(!open.contains("Average latency") && open.contains("Errors"))
  }

  @Test("a receipt says how many servers have followed, and that the others will")
  func receipts() {
    func receipt(_ acknowledged: Int) -> String {
      let propagation = Propagation(instances: 3, acknowledged: acknowledged, milliseconds: 14)
      return String(decoding: KeyPage.done("Refused by", propagation).bytes, as: UTF8.self)
    }
    #expect(receipt(3).contains("Refused by 3 of 3 servers after") && receipt(3).contains("14 ms"))
    #expect(receipt(2).contains("Refused by 2 of 3 servers after") && receipt(2).contains("The others follow"))
  }

  @Test("a page of fifty keys is small")
  func size() {
    let keys = (0..<50).map { index in makeKey { $0.name = "Key \(index)" } }
    let page = KeyListPage(keys, FormState(["status": "any"]), next: nil, mayChange: true, at: now)
    #expect(page.document(in: reader).bytes.count < 60_000)
  }
}

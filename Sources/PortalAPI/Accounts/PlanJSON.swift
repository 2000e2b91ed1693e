import JSON
package import Portal

extension JSONWriter {
  package mutating func fields(of plan: Plan) {
    field("name", plan.name)
    field("keyCap", plan.keyCap)
    field("scopes", plan.scopes)
    field("rateLimitPerMinuteMax", plan.rateLimitPerMinuteMax)
    field("maxKeyLifetimeDays", plan.maxKeyLifetimeDays)
    field("apiIds", plan.apiIDs?.map(\.text))
    field("roleIds", plan.roleIDs.map(\.text))
  }

  /// An account that a plan was assigned to.
  package mutating func fields(ofPlanOf account: Account, _ propagation: Propagation) {
    fields(of: account)
    object("plan") { $0.fields(of: account.plan) }
    self.propagation(propagation)
  }

  package mutating func fields(of plan: Plan, _ propagation: Propagation) {
    fields(of: plan)
    self.propagation(propagation)
  }
}

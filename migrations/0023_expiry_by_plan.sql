-- Owners and admins are told of keys that expire by their plan, too.
grant select on plans to latchkey_jobs;
grant select (plan) on accounts to latchkey_jobs;

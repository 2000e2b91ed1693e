-- People belong to several accounts, and their roles change. Nothing here keeps the last owner: that takes a look at other
-- rows, which the verbs take behind the lock of the account.

-- A session for another of one's accounts is opened by those who find out who is logged in; whoever is in none of them any
-- more leaves no session behind, by a foreign key that wants to see its target.
grant update on memberships to latchkey_identity;

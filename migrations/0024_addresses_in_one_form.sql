-- Brings the addresses of people into Unicode's form NFC, in which they are looked for from now on. One that somebody
-- else has in that form stays as it is: whose it is, a machine cannot tell.
-- compatible-from: 0022

do $$
declare
  people text;
begin
  -- Others cannot be normalized, and have no need of it.
  if getdatabaseencoding() <> 'UTF8' then
    return;
  end if;
  foreach people in array array['users', 'staff'] loop
    execute format(
      $sql$
        with composed as (
          select distinct on (normalize(email, nfc)) id, normalize(email, nfc) as email
          from %1$I
          where octet_length(email) > length(email) and email is not nfc normalized
          order by normalize(email, nfc), created_at, id
        )
        update %1$I person set email = composed.email
        from composed
        where person.id = composed.id and composed.email = lower(composed.email)
          and length(composed.email) between 3 and 254
          and not exists (select from %1$I other where other.email = composed.email)
      $sql$, people);
  end loop;
end $$;

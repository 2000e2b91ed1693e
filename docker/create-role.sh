#!/usr/bin/env bash
# Run once by the postgres image, when its volume is empty. The portal's role must not be the image's own user: that one
# is a superuser, and row-level security does not hold for superusers.
set -euo pipefail

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'END'
\getenv password LATCHKEY_DATABASE_PASSWORD
create role latchkey login password :'password';
create database latchkey owner latchkey;
END

#!/usr/bin/env bash
# The postgres image runs this once, when its volume is empty. The portal needs a role other than the image's own user:
# that user is a superuser, and row-level security does not apply to superusers.
set -euo pipefail

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'END'
\getenv password LATCHKEY_DATABASE_PASSWORD
create role latchkey login password :'password';
create database latchkey owner latchkey;
END

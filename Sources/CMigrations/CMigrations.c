#include "CMigrations.h"

// The migrations are embedded in the program, so that there is only one file to deploy. Each file of migrations/ has
// two lines here; a test compares this list with the folder.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char sql_0001[] = {
#embed "../../migrations/0001_accounts_and_people.sql"
};
static const unsigned char sql_0002[] = {
#embed "../../migrations/0002_keys.sql"
};
static const unsigned char sql_0003[] = {
#embed "../../migrations/0003_invalidation.sql"
};
static const unsigned char sql_0004[] = {
#embed "../../migrations/0004_rate_limits.sql"
};
static const unsigned char sql_0005[] = {
#embed "../../migrations/0005_usage.sql"
};
static const unsigned char sql_0006[] = {
#embed "../../migrations/0006_analytics.sql"
};
static const unsigned char sql_0007[] = {
#embed "../../migrations/0007_audit.sql"
};
static const unsigned char sql_0008[] = {
#embed "../../migrations/0008_mail.sql"
};
static const unsigned char sql_0009[] = {
#embed "../../migrations/0009_attempts.sql"
};
static const unsigned char sql_0010[] = {
#embed "../../migrations/0010_jobs.sql"
};
static const unsigned char sql_0011[] = {
#embed "../../migrations/0011_row_level_security.sql"
};
static const unsigned char sql_0012[] = {
#embed "../../migrations/0012_invalidation_marks.sql"
};
static const unsigned char sql_0013[] = {
#embed "../../migrations/0013_usage_written_again.sql"
};
static const unsigned char sql_0014[] = {
#embed "../../migrations/0014_set_back_windows.sql"
};
static const unsigned char sql_0015[] = {
#embed "../../migrations/0015_audit_heads.sql"
};
static const unsigned char sql_0016[] = {
#embed "../../migrations/0016_endpoint_name_locks.sql"
};
static const unsigned char sql_0017[] = {
#embed "../../migrations/0017_trigrams.sql"
};
static const unsigned char sql_0018[] = {
#embed "../../migrations/0018_idle_keys.sql"
};
static const unsigned char sql_0019[] = {
#embed "../../migrations/0019_busiest_keys.sql"
};
static const unsigned char sql_0020[] = {
#embed "../../migrations/0020_key_lineages.sql"
};
static const unsigned char sql_0021[] = {
#embed "../../migrations/0021_finite_times.sql"
};
static const unsigned char sql_0022[] = {
#embed "../../migrations/0022_finite_times_checked.sql"
};
static const unsigned char sql_0023[] = {
#embed "../../migrations/0023_staff_changes.sql"
};
static const unsigned char sql_0024[] = {
#embed "../../migrations/0024_addresses_in_one_form.sql"
};
static const unsigned char sql_0025[] = {
#embed "../../migrations/0025_erasure.sql"
};
static const unsigned char sql_0026[] = {
#embed "../../migrations/0026_large_numbers.sql"
};
static const unsigned char sql_0027[] = {
#embed "../../migrations/0027_audit_detail.sql"
};
static const unsigned char sql_0028[] = {
#embed "../../migrations/0028_catalog.sql"
};
static const unsigned char sql_0029[] = {
#embed "../../migrations/0029_external_accounts.sql"
};
static const unsigned char sql_0030[] = {
#embed "../../migrations/0030_scopes_count.sql"
};
static const unsigned char sql_0031[] = {
#embed "../../migrations/0031_credits.sql"
};
static const unsigned char sql_0032[] = {
#embed "../../migrations/0032_limits.sql"
};
static const unsigned char sql_0033[] = {
#embed "../../migrations/0033_standalone_limits.sql"
};
static const unsigned char sql_0034[] = {
#embed "../../migrations/0034_holders_and_history.sql"
};
static const unsigned char sql_0035[] = {
#embed "../../migrations/0035_actor_kinds_checked.sql"
};
static const unsigned char sql_0036[] = {
#embed "../../migrations/0036_key_material.sql"
};
static const unsigned char sql_0037[] = {
#embed "../../migrations/0037_key_imports.sql"
};
static const unsigned char sql_0038[] = {
#embed "../../migrations/0038_resources.sql"
};

#define MIGRATION(number, name) {#number "_" #name ".sql", sql_##number, sizeof sql_##number}

static const struct embedded_migration migrations[] = {
    MIGRATION(0001, accounts_and_people),
    MIGRATION(0002, keys),
    MIGRATION(0003, invalidation),
    MIGRATION(0004, rate_limits),
    MIGRATION(0005, usage),
    MIGRATION(0006, analytics),
    MIGRATION(0007, audit),
    MIGRATION(0008, mail),
    MIGRATION(0009, attempts),
    MIGRATION(0010, jobs),
    MIGRATION(0011, row_level_security),
    MIGRATION(0012, invalidation_marks),
    MIGRATION(0013, usage_written_again),
    MIGRATION(0014, set_back_windows),
    MIGRATION(0015, audit_heads),
    MIGRATION(0016, endpoint_name_locks),
    MIGRATION(0017, trigrams),
    MIGRATION(0018, idle_keys),
    MIGRATION(0019, busiest_keys),
    MIGRATION(0020, key_lineages),
    MIGRATION(0021, finite_times),
    MIGRATION(0022, finite_times_checked),
    MIGRATION(0023, staff_changes),
    MIGRATION(0024, addresses_in_one_form),
    MIGRATION(0025, erasure),
    MIGRATION(0026, large_numbers),
    MIGRATION(0027, audit_detail),
    MIGRATION(0028, catalog),
    MIGRATION(0029, external_accounts),
    MIGRATION(0030, scopes_count),
    MIGRATION(0031, credits),
    MIGRATION(0032, limits),
    MIGRATION(0033, standalone_limits),
    MIGRATION(0034, holders_and_history),
    MIGRATION(0035, actor_kinds_checked),
    MIGRATION(0036, key_material),
    MIGRATION(0037, key_imports),
    MIGRATION(0038, resources),
};

const struct embedded_migration *embedded_migration_at(size_t index) {
  return index < sizeof migrations / sizeof migrations[0] ? &migrations[index] : NULL;
}

static const unsigned char access_bytes[] = {
#embed "../../migrations/access"
};

static const struct embedded_migration access_file = {"access", access_bytes, sizeof access_bytes};

const struct embedded_migration *embedded_access(void) { return &access_file; }

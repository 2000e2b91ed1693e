#pragma once

#include <stddef.h>

/// A file of the folder migrations/, as it was when the program was built.
struct embedded_migration {
  /// The file's name.
  const char *_Nonnull name;
  /// Its bytes, UTF-8 without a terminator.
  const unsigned char *_Nonnull bytes;
  size_t length;
};

/// The files in the order of their numbers; ends with NULL.
const struct embedded_migration *_Nullable embedded_migration_at(size_t index);

/// The file migrations/access.
const struct embedded_migration *_Nonnull embedded_access(void);

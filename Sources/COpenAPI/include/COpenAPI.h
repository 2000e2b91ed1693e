#pragma once

#include <stddef.h>

/// A file of the project's folder, as it was when the program was built.
struct embedded_document {
  /// Its bytes, UTF-8 without a terminator.
  const unsigned char *_Nonnull bytes;
  size_t length;
};

/// The file openapi.json, which scripts/openapi generates from openapi.yaml.
const struct embedded_document *_Nonnull embedded_openapi_json(void);

/// The file openapi.yaml.
const struct embedded_document *_Nonnull embedded_openapi_yaml(void);

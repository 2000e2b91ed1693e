#pragma once

#include <stddef.h>

/// A file of Sources/CAssets, as it was when the program was built.
struct embedded_asset {
  /// Its bytes, without a terminator.
  const unsigned char *_Nonnull bytes;
  size_t length;
};

/// The stylesheet of all pages.
const struct embedded_asset *_Nonnull embedded_stylesheet(void);

/// The icon of all pages, SVG.
const struct embedded_asset *_Nonnull embedded_icon(void);

// Normalizes text. u8_normalize is a macro, so it needs a wrapper.
#pragma once

#include <uninorm.h>

// UTF-8 in the form NFC, to be freed; NULL if memory is exhausted.
static inline uint8_t *latchkey_normalize(const uint8_t *text, size_t count, size_t *result_count) {
  return u8_normalize(UNINORM_NFC, text, count, NULL, result_count);
}

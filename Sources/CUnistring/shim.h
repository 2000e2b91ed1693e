// Only what makes one form of a text, which is a macro there: uninorm.h, u8_normalize.
#pragma once

#include <uninorm.h>

// UTF-8 in the form NFC, to be freed; NULL where there is no memory.
static inline uint8_t *latchkey_normalize(const uint8_t *text, size_t count, size_t *result_count) {
  return u8_normalize(UNINORM_NFC, text, count, NULL, result_count);
}

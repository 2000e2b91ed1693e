// libcurl's easy interface. Its setters and getters are variadic, which Swift cannot call; these wrappers have one type
// each.
#pragma once

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

static inline CURLcode latchkey_curl_global_init(void) { return curl_global_init(CURL_GLOBAL_DEFAULT); }

static inline CURLcode latchkey_curl_set_text(CURL *curl, CURLoption option, const char *value) {
  return curl_easy_setopt(curl, option, value);
}

static inline CURLcode latchkey_curl_set_number(CURL *curl, CURLoption option, long value) {
  return curl_easy_setopt(curl, option, value);
}

static inline CURLcode latchkey_curl_set_pointer(CURL *curl, CURLoption option, void *value) {
  return curl_easy_setopt(curl, option, value);
}

// Receives each line from the server (`count` items of `size` bytes) and returns the number of bytes.
typedef size_t (*latchkey_curl_line_reader)(char *line, size_t size, size_t count, void *context);

static inline CURLcode latchkey_curl_set_line_reader(CURL *curl, latchkey_curl_line_reader reader, void *context) {
  CURLcode result = curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, reader);
  return result == CURLE_OK ? curl_easy_setopt(curl, CURLOPT_HEADERDATA, context) : result;
}

static inline CURLcode latchkey_curl_get_number(CURL *curl, CURLINFO info, long *value) {
  return curl_easy_getinfo(curl, info, value);
}

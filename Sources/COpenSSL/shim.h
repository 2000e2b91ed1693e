// Only the password hashing of libcrypto: EVP_PBE_scrypt (RFC 7914).
#include <openssl/evp.h>

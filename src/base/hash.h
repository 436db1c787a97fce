/* Hashes: SHA-256 for content (ETags, checksums, verification), FNV-1a for tables in memory. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_SIZE = 32, SHA256_TEXT_SIZE = 65 };

void sha256(const void *bytes, size_t size, uint8_t digest[SHA256_SIZE]);
/* Lower-case hexadecimal, NUL-terminated; returns text. */
const char *sha256_text(const void *bytes, size_t size, char text[SHA256_TEXT_SIZE]);
uint64_t fnv1a(const void *bytes, size_t size);

#endif

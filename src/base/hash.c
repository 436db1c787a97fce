/* Hashes: see hash.h. */
#include "base/hash.h"

#include <openssl/evp.h>
#include <stdlib.h>

void sha256(const void *bytes, size_t size, uint8_t digest[SHA256_SIZE])
{
    /* Fails only without memory for a few dozen bytes; a wrong checksum must never get out. */
    if (EVP_Digest(bytes, size, digest, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

const char *sha256_text(const void *bytes, size_t size, char text[SHA256_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[SHA256_SIZE];

    sha256(bytes, size, digest);
    for (int i = 0; i < SHA256_SIZE; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[2 * SHA256_SIZE] = '\0';
    return text;
}

uint64_t fnv1a(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

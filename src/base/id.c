/* Identifiers: see id.h. UUID version 7 is laid out in RFC 9562, section 5.7; the 12 bits after the
 * version hold the fraction of the millisecond (section 6.2, method 3). */
#include "base/id.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"

void random_bytes(void *bytes, unsigned long size)
{
    uint8_t *at = bytes;

    while (size > 0) {
        const ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        /* Only a kernel without the call can bring us here, and no weaker source will do. */
        if (got < 0)
            abort();
        at += got;
        size -= (unsigned long)got;
    }
}

/* The time in units of 1/4096 ms, 60 bits, strictly rising within the process whatever the wall
 * clock does: ids made one after the other sort in that order. */
static uint64_t next_tick(void)
{
    static atomic_uint_fast64_t last;
    const uint64_t utc_us = (uint64_t)clock_utc_us();
    const uint64_t now = utc_us / 1000 * 4096 + utc_us % 1000 * 4096 / 1000;
    uint64_t before = atomic_load(&last), tick;

    do
        tick = now > before ? now : before + 1;
    while (!atomic_compare_exchange_weak(&last, &before, tick));
    return tick;
}

void id_make(char text[ID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    const uint64_t tick = next_tick(), milliseconds = tick >> 12, fraction = tick & 0xfff;
    uint8_t id[16];

    random_bytes(id + 8, 8);
    for (int i = 0; i < 6; i++)
        id[i] = (uint8_t)(milliseconds >> (40 - 8 * i));
    id[6] = (uint8_t)(0x70 | fraction >> 8);
    id[7] = (uint8_t)fraction;
    id[8] = (uint8_t)(0x80 | (id[8] & 0x3f));

    char *at = text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[id[i] >> 4];
        *at++ = digits[id[i] & 15];
    }
    *at = '\0';
}

static bool is_hexadecimal(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool id_valid(const char *text)
{
    for (int i = 0; i < ID_TEXT_SIZE - 1; i++) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !is_hexadecimal(text[i]))
            return false;
    }
    return text[ID_TEXT_SIZE - 1] == '\0';
}

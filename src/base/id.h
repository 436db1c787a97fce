/* Identifiers: UUID version 7 (RFC 9562), so that ids sort by the time they were made and indexes
 * stay compact. */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdbool.h>

enum { ID_TEXT_SIZE = 37 }; /* 36 characters and the NUL */

/* Makes a fresh id in lower case. Random bits come from getrandom(2), which cannot fail once
 * booted. */
void id_make(char text[ID_TEXT_SIZE]);
/* Any version of UUID in the 8-4-4-4-12 form, lower or upper case. */
bool id_valid(const char *text);
/* Fills with random bytes fit for secrets. */
void random_bytes(void *bytes, unsigned long size);

#endif

/* The manual page, ocelli(1). */
#ifndef CMD_MANUAL_H
#define CMD_MANUAL_H

/* Prints it to standard output, in man(7)'s macros. */
void manual_print(void);

#endif

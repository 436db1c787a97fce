/* The sample photographs of `ocelli demo`: stamps of the drawing program Tux Paint, which Debian
 * has in the package tuxpaint-stamps-default, with what each shows. */
#ifndef CMD_PHOTOGRAPHS_H
#define CMD_PHOTOGRAPHS_H

#include "sources/source.h"

#define PHOTOGRAPHS_FOLDER  "/usr/share/tuxpaint/stamps"
#define PHOTOGRAPHS_PACKAGE "tuxpaint-stamps-default"

extern const struct source_listed photographs[]; /* paths below the folder */
extern const size_t photograph_count;

#endif

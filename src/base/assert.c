/* SPDX-License-Identifier: MIT */
/* The last words of a program that found itself wrong. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void weir__assert_failed(const char *claim, const char *file, int line)
{
    fprintf(stderr, "weir: assertion failed: %s (%s:%d)\n", claim, file, line);
    abort();
}

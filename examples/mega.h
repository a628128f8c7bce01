/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_MEGA_H
#define EXAMPLES_MEGA_H

#include <stddef.h>
#include <stdint.h>

/* Bodies of any size in one piece of memory. */

/* Maps a text of that many bytes; 16 MiB of memory serve any size. munmap() it. NULL: it cannot be had. */
uint8_t *mega_map(uint64_t bytes);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_MEGA_H
#define EXAMPLES_MEGA_H

#include <stddef.h>
#include <stdint.h>

/*
 * Bodies of any size in one piece of memory, and a listener that sends them as one HTTP chunk. The library never does
 * that: it cuts what it is given. A peer may do it, though, and whoever stands in between must not care.
 */

/* Maps a text of that many bytes; 16 MiB of memory serve any size. munmap() it. NULL: it cannot be had. */
uint8_t *mega_map(uint64_t bytes);

/* Starts a thread that accepts at host:port and answers each GET with a body of ?mb=N MiB in one chunk. Says on stderr
 * where it listens. Returns 0 or an errno. */
int mega_start(const char *host, uint16_t port);
void mega_stop(void);

#endif

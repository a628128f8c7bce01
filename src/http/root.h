/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_ROOT_H
#define WEIR_HTTP_ROOT_H

#include <stdbool.h>
#include <sys/stat.h>

#include <weir/files.h>

/*
 * Opens what a decoded name below the root means, `more` (may be NULL) being a further name behind it. On the loop as far
 * as the kernel's memory goes, else by the pool while the fiber waits.
 *
 * Returns 0 with a descriptor and its status, or a code as of weir_reply_file(). Context: fiber, suspends.
 */
int weir__root_lookup(struct weir_root *root, const char *name, const char *more, bool no_symlinks,
                      int *ret_fd, struct stat *ret_status);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_FILE_PATH_H
#define WEIR_HTTP_FILE_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include <weir/view.h>

/*
 * A request's path as the name of a file below a directory: decoded once, without the slash in front, ended by a NUL.
 *
 * out   room for path.len + 2 bytes. "." for the root itself.
 * ret_is_dir  it ends with a slash, which `out` does not have: only a directory may be meant. An empty path does not.
 *
 * Returns 0, WEIR_EINVAL (can be nobody's name), WEIR_ENOTFOUND (an empty segment; a dot in front, unless `dotfiles`).
 */
int weir__file_path_decode(struct weir_view path, bool plain, bool dotfiles, char *out,
                           size_t *ret_len, bool *ret_is_dir);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef WEIR_STREAM_FILE_H
#define WEIR_STREAM_FILE_H

#include <stdbool.h>

/* For tests: file sources do as on a kernel that has no cachestat(). */
void weir__file_without_cachestat(bool without);

#endif

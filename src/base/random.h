/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_RANDOM_H
#define WEIR_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include <weir/view.h>

/* Bytes that nobody can guess, from the kernel. Returns 0 or WEIR_EIO. Context: any thread. */
int weir__random(void *bytes, size_t len);

/* SipHash-2-4: a number for bytes that nobody without the secret can aim at. Context: any thread. */
uint64_t weir__siphash(const uint64_t secret[2], struct weir_view bytes);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef WEIR_VIEW_H
#define WEIR_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <weir/export.h>

WEIR_BEGIN_DECLS

/*
 * A borrowed run of bytes. Not NUL-terminated; passed by value. How long the bytes live is said by the call that
 * returns the view. {NULL, 0} is the absent view; an empty but present one has a non-NULL pointer.
 */
struct weir_view {
    const uint8_t *data;
    size_t len;
};

/* A view of a NUL-terminated string; NULL gives the absent view. */
static inline struct weir_view weir_str(const char *text)
{
    struct weir_view view = {(const uint8_t *)text, text != NULL ? strlen(text) : 0};
    return view;
}

/* A view of `len` bytes anywhere. */
static inline struct weir_view weir_bytes(const void *data, size_t len)
{
    struct weir_view view = {(const uint8_t *)data, len};
    return view;
}

/* Whether it is the absent view, which is not the same as an empty one. */
static inline bool weir_view_is_absent(struct weir_view view)
{
    return view.data == NULL;
}

/** Same bytes, same length. Context: any thread.  Since: 0.1. */
WEIR_API bool weir_view_equal(struct weir_view a, struct weir_view b);

/** The same, with ASCII letters compared without case (field names). Context: any thread.  Since: 0.1. */
WEIR_API bool weir_view_equal_nocase(struct weir_view a, struct weir_view b);

/** Whether `view` begins with `prefix`. Context: any thread.  Since: 0.1. */
WEIR_API bool weir_view_starts_with(struct weir_view view, struct weir_view prefix);

/** Without the spaces and tabs at both ends. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_view weir_view_trim(struct weir_view view);

/**
 * Parses an unsigned decimal number: digits only, no sign, no space, no overflow.
 *
 * ret  untouched on failure.
 *
 * Returns 0, or WEIR_EINVAL (empty, or a byte that is no digit), WEIR_ELIMIT (over UINT64_MAX).
 * Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_view_to_u64(struct weir_view view, uint64_t *ret);

/**
 * Takes the next element of a comma-separated list (RFC 9110 5.6.1) off the front of `list`, trimmed; empty
 * elements are skipped. Does not look into quoted strings.
 *
 * Returns 1 with an element, 0 at the end. Context: any thread.  Since: 0.1.
 */
WEIR_API int weir_view_next_item(struct weir_view *list, struct weir_view *ret);

WEIR_END_DECLS

#endif

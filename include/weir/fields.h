/* SPDX-License-Identifier: MIT */
#ifndef WEIR_FIELDS_H
#define WEIR_FIELDS_H

#include <weir/view.h>

WEIR_BEGIN_DECLS

/*
 * Field lines of a head or a trailer section (RFC 9110 5), in order, repeated names kept apart. Names are compared
 * without case. What could become a line of its own (CR, LF, NUL and the other controls) is refused when it is added.
 */
struct weir_fields;

struct weir_field {
    struct weir_view name;
    struct weir_view value; /* without white space around it; may be empty */
};

/**
 * An empty list.
 * ret  given: weir_fields_destroy() it.
 * Returns 0, WEIR_ENOMEM, WEIR_EBUDGET. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_fields_create(struct weir_fields **ret);

/** Frees the list and every view into it; NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_fields_destroy(struct weir_fields *fields);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_fields_destroyp(struct weir_fields **fields);

/**
 * Adds a line at the end; name and value are copied.
 * Returns 0, WEIR_EINVAL (not a token; a control byte in the value), WEIR_ELIMIT (over 1000 lines), WEIR_ENOMEM,
 * WEIR_EBUDGET. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_fields_add(struct weir_fields *fields, struct weir_view name,
                                            struct weir_view value);

/** The same without copying: both views must live as long as the list. Context: any thread.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_fields_add_borrowed(struct weir_fields *fields,
                                                     struct weir_view name, struct weir_view value);

/** Removes every line of that name. Returns how many there were. Context: any thread.  Since: 0.1. */
WEIR_API size_t weir_fields_remove(struct weir_fields *fields, struct weir_view name);

/** The number of lines; 0 for NULL. Context: any thread.  Since: 0.1. */
WEIR_API size_t weir_fields_count(struct weir_fields *fields);

/** The i-th line, borrowed from the list; absent views when there is none. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_field weir_fields_at(struct weir_fields *fields, size_t i);

/** The value of the first line of that name, borrowed; absent if there is none. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_view weir_fields_get(struct weir_fields *fields, struct weir_view name);

WEIR_END_DECLS

#endif

/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_REPLY_FIELDS_H
#define WEIR_HTTP_REPLY_FIELDS_H

#include <weir/fields.h>

/* A field that a kind of reply sets: `fixed` takes the place of a given one, the others yield to it. */
struct weir__reply_field {
    const char *name;
    struct weir_view value;
    bool fixed;
};

/*
 * The given fields (NULL: none) and behind them those of the reply. Nothing is copied: both must live as long as the
 * result. Returns 0, WEIR_EINVAL (a value that could begin a line), WEIR_ENOMEM, WEIR_EBUDGET, WEIR_ELIMIT.
 */
WEIR_NODISCARD int weir__reply_fields(struct weir_fields *given,
                                      const struct weir__reply_field *own, size_t count,
                                      struct weir_fields **ret);

#endif

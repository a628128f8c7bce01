/* SPDX-License-Identifier: MIT */
#ifndef WEIR_FORM_H
#define WEIR_FORM_H

#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * Forms as application/x-www-form-urlencoded (WHATWG URL 5.1): "a=1&b=x+y%21". Fields keep their order, and repeated names
 * are kept apart. Bytes are taken as they come: nothing says that they are UTF-8. A form is small and read whole; what is
 * uploaded comes as weir/multipart.h.
 */
struct weir_form;

struct weir_form_limits {
    size_t max_bytes;  /* of the text before it is decoded; 0: 1 MiB */
    size_t max_fields; /* 0: 1,000 */
};

struct weir_form_field {
    struct weir_view name, value; /* decoded; never absent, perhaps empty, any bytes */
};

/**
 * Reads a request's body as a form, its Content-Encoding undone (by a ratio of at most 100; the bound is one of the decoded
 * text). It must be the only reader of the body.
 *
 * limits    borrowed, NULL for the defaults.
 * deadline  for all of the body, as of weir_read_all().
 * ret       given: weir_form_destroy() it. Untouched on failure.
 *
 * Returns 0, or
 *   WEIR_EUNSUPPORTED   the request's Content-Type is another one, or none, or its Content-Encoding is not
 *                       known (returned by the handler: 415); nothing was read;
 *   WEIR_EPROTO         malformed: a percent sign without two hex digits, a control byte; or two Content-Types (400);
 *   WEIR_ELIMIT         more bytes or fields than allowed (413);
 *   anything that weir_read_all() fails with.
 *
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_form_read(struct weir_req *req,
                                           const struct weir_form_limits *limits, int64_t deadline,
                                           struct weir_form **ret);

/**
 * The same from text in memory, weir_req_query() for one.
 *
 * text    borrowed; absent or empty gives a form without fields.
 *
 * Returns 0, WEIR_EPROTO, WEIR_ELIMIT, WEIR_ENOMEM, WEIR_EBUDGET. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_form_parse(struct weir_view text,
                                            const struct weir_form_limits *limits,
                                            struct weir_form **ret);

/** Frees it and every view into it; NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_form_destroy(struct weir_form *form);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_form_destroyp(struct weir_form **form);

/** The number of fields. Context: any thread.  Since: 0.1. */
WEIR_API size_t weir_form_count(struct weir_form *form);

/** The i-th field in the order they came, borrowed from the form; absent views when there is none.
 * Context: any thread.  Since: 0.1. */
WEIR_API struct weir_form_field weir_form_at(struct weir_form *form, size_t i);

/** The value of the first field of exactly that name, borrowed; absent if there is none. Context: any thread.
 * Since: 0.1. */
WEIR_API struct weir_view weir_form_get(struct weir_form *form, const char *name);

/**
 * The values of all fields of exactly that name, one after the other.
 *
 * at   where to look on; 0 before the first call.
 * ret  borrowed from the form. Untouched at the end.
 *
 * Returns 1 with a value, 0 when there is none left. Context: any thread.  Since: 0.1.
 */
WEIR_API int weir_form_next(struct weir_form *form, const char *name, size_t *at,
                            struct weir_view *ret);

WEIR_END_DECLS

/*
 * Example: a log-in form of at most 4 KiB.
 *
 *     struct weir_form *form = NULL;
 *     int r = weir_form_read(req, &(struct weir_form_limits){.max_bytes = 4096}, weir_after_ms(5000), &form);
 *
 *     if (r == 0) {
 *         r = log_in(req, weir_form_get(form, "user"), weir_form_get(form, "password"));
 *     }
 *     weir_form_destroy(form);
 *     return r;
 */

#endif

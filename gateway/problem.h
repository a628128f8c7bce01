/* SPDX-License-Identifier: MIT */
#ifndef GW_PROBLEM_H
#define GW_PROBLEM_H

#include <stddef.h>

#include <weir/export.h>
#include <weir/view.h>

/* What is wrong with an option, a setting or a file, for a person to read. One line, without a newline. */
struct gw_problem {
    char text[640];
};

/* A text that came from outside, made fit for a message. */
struct gw_quoted {
    char text[96];
};

/* Writes the message; a longer one is cut. `problem` may be NULL. Context: any thread. */
void gw_problem_set(struct gw_problem *problem, const char *format, ...) WEIR_PRINTF(2, 3);

/*
 * The text in double quotes, bytes that are not printable ASCII as \xNN, a long one cut and ended by "...".
 * Context: any thread.
 */
struct gw_quoted gw_quote(struct weir_view text);

#endif

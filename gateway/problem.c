/* SPDX-License-Identifier: MIT */
/* Messages for people. What is quoted may be any bytes; what comes out is printable and short. */
#include "problem.h"

#include <stdarg.h>
#include <stdio.h>

void gw_problem_set(struct gw_problem *problem, const char *format, ...)
{
    va_list args;

    if (problem == NULL) {
        return;
    }
    va_start(args, format);
    if (vsnprintf(problem->text, sizeof(problem->text), format, args) < 0) {
        problem->text[0] = '\0';
    }
    va_end(args);
}

struct gw_quoted gw_quote(struct weir_view text)
{
    static const char hex[] = "0123456789abcdef";
    /* Room for the longest escape, the dots, the quote and the NUL. */
    const size_t last = sizeof(((struct gw_quoted *)0)->text) - 4 - 3 - 2;
    struct gw_quoted quoted;
    size_t at = 0;

    quoted.text[at++] = '"';
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];

        if (at > last) {
            memcpy(quoted.text + at, "...", 3);
            at += 3;
            break;
        }
        if (byte == '"' || byte == '\\') {
            quoted.text[at++] = '\\';
            quoted.text[at++] = (char)byte;
        } else if (byte >= 0x20 && byte < 0x7f) {
            quoted.text[at++] = (char)byte;
        } else {
            quoted.text[at++] = '\\';
            quoted.text[at++] = 'x';
            quoted.text[at++] = hex[byte >> 4];
            quoted.text[at++] = hex[byte & 15];
        }
    }
    quoted.text[at++] = '"';
    quoted.text[at] = '\0';
    return quoted;
}

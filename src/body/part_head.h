/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BODY_PART_HEAD_H
#define WEIR_BODY_PART_HEAD_H

#include <weir/fields.h>

/* The header of one part: its lines, and what Content-Disposition says. */
struct weir__part_head {
    struct weir_fields *fields; /* NULL: none is being read; all views are in its memory */
    struct weir_view name, filename, safe_filename;
};

/* 0, WEIR_ENOMEM, WEIR_EBUDGET. */
int weir__part_head_init(struct weir__part_head *head);
void weir__part_head_finish(struct weir__part_head *head);

/* Adds a line (without its CRLF, not empty; copied): 0, WEIR_EPROTO, WEIR_ELIMIT (over max_lines), WEIR_ENOMEM. */
int weir__part_head_add(struct weir__part_head *head, struct weir_view line, size_t max_lines);

/* After the last line: 0, WEIR_EPROTO (no form-data with a name; a line twice that must not be), WEIR_ENOMEM. */
int weir__part_head_end(struct weir__part_head *head);

/* A file name made harmless, into `out` with room for as many bytes; what of it is left, 0 if nothing. */
size_t weir__safe_filename(struct weir_view name, uint8_t *out);
#define WEIR__SAFE_FILENAME_MAX 255

#endif

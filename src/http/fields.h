/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_FIELDS_H
#define WEIR_HTTP_FIELDS_H

#include <weir/fields.h>

#include <stdbool.h>

/*
 * A list of field lines in one pooled block: the lines grow from its front, copied bytes from its back. A full one
 * continues in a larger block; bytes never move.
 */
#define WEIR__FIELDS_MAX 1000

struct weir_chunk;

struct weir_fields {
    uint32_t magic;
    uint32_t count, capacity;
    struct weir_field *items;
    uint8_t *bytes; /* free room for copies */
    size_t bytes_left;
    struct weir_chunk *block;       /* this list is its first bytes */
    struct weir__fields_more *more; /* further blocks */
};

/* A list with room for `count` lines and `bytes` bytes of copies. Returns 0, WEIR_ENOMEM, WEIR_EBUDGET, WEIR_ELIMIT. */
int weir__fields_create_sized(size_t count, size_t bytes, struct weir_fields **ret);

/* Copies bytes into the list's memory; NULL when there is none. */
uint8_t *weir__fields_keep(struct weir_fields *fields, struct weir_view bytes);

/* Whether `value` may stand in a field line, and `name` be a token. */
bool weir__field_is_value(struct weir_view value);
bool weir__field_is_token(struct weir_view name);

#endif

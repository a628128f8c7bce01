/* SPDX-License-Identifier: MIT */
/* Field lists. Invariant: items[0 .. count) are valid views; memory is freed only with the list. */
#include "http/fields.h"

#include <weir/chunk.h>
#include <weir/err.h>

#include "base/assert.h"
#include "bytes/chunk.h"

#include <stdalign.h>

#define FIELDS_MAGIC 0x666c6473u

struct weir__fields_more {
    struct weir__fields_more *next;
    struct weir_chunk *block;
};

static const uint8_t token_bytes[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
    ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1,  ['~'] = 1, ['0'] = 1,
    ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1,  ['7'] = 1, ['8'] = 1,
    ['9'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1,  ['F'] = 1, ['G'] = 1,
    ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1,  ['N'] = 1, ['O'] = 1,
    ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1,  ['V'] = 1, ['W'] = 1,
    ['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1,  ['d'] = 1, ['e'] = 1,
    ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1,  ['l'] = 1, ['m'] = 1,
    ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1,  ['t'] = 1, ['u'] = 1,
    ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
};

bool weir__field_is_token(struct weir_view name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!token_bytes[name.data[i]]) {
            return false;
        }
    }
    return name.len > 0;
}

bool weir__field_is_value(struct weir_view value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t byte = value.data[i];

        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

int weir__fields_create_sized(size_t count, size_t bytes, struct weir_fields **ret)
{
    size_t head = (sizeof(struct weir_fields) + 15) & ~(size_t)15;
    size_t room;
    struct weir_chunk *block;
    struct weir_fields *fields;
    uint8_t *memory;
    int r;

    if (count > WEIR__FIELDS_MAX || bytes > WEIR__CHUNK_MAX / 2) {
        return WEIR_ELIMIT;
    }
    r = weir__chunk_alloc(head + count * sizeof(struct weir_field) + bytes + 16, &block);
    if (r < 0) {
        return r;
    }
    memory = (uint8_t *)(((uintptr_t)weir_chunk_data(block) + 15) & ~(uintptr_t)15);
    room = weir_chunk_len(block) - 16 - head;
    fields = (struct weir_fields *)(void *)memory;
    *fields = (struct weir_fields){
        .magic = FIELDS_MAGIC,
        .capacity = (uint32_t)((room - bytes) / sizeof(struct weir_field)),
        .items = (struct weir_field *)(void *)(memory + head),
        .block = block,
    };
    /* What is beyond the lines asked for is shared by both kinds of growth: half each. */
    if (fields->capacity > count) {
        fields->capacity = (uint32_t)(count + (fields->capacity - count) / 2);
    }
    fields->bytes = memory + head + fields->capacity * sizeof(struct weir_field);
    fields->bytes_left = room - fields->capacity * sizeof(struct weir_field);
    *ret = fields;
    return 0;
}

int weir_fields_create(struct weir_fields **ret)
{
    return weir__fields_create_sized(16, 256, ret); /* fits the smallest block */
}

void weir_fields_destroy(struct weir_fields *fields)
{
    struct weir__fields_more *more;

    if (fields == NULL) {
        return;
    }
    weir_check(fields, FIELDS_MAGIC);
    fields->magic = 0;
    more = fields->more;
    while (more != NULL) {
        struct weir__fields_more *next = more->next;

        weir_chunk_unref(more->block);
        more = next;
    }
    weir_chunk_unref(fields->block);
}

void weir_fields_destroyp(struct weir_fields **fields)
{
    weir_fields_destroy(*fields);
    *fields = NULL;
}

/* Another block of at least `size` bytes; its memory, or NULL. */
static uint8_t *add_block(struct weir_fields *fields, size_t size, size_t *ret_room)
{
    struct weir_chunk *block;
    struct weir__fields_more *more;
    uint8_t *memory;

    if (weir__chunk_alloc(size + sizeof(*more) + 16, &block) < 0) {
        return NULL;
    }
    memory = (uint8_t *)(((uintptr_t)weir_chunk_data(block) + 15) & ~(uintptr_t)15);
    more = (struct weir__fields_more *)(void *)memory;
    *more = (struct weir__fields_more){fields->more, block};
    fields->more = more;
    *ret_room = weir_chunk_len(block) - 16 - sizeof(*more);
    return memory + sizeof(*more);
}

uint8_t *weir__fields_keep(struct weir_fields *fields, struct weir_view bytes)
{
    uint8_t *kept;

    if (fields->bytes_left < bytes.len) {
        size_t room;
        uint8_t *memory = add_block(fields, bytes.len < 3072 ? 3072 : bytes.len, &room);

        if (memory == NULL) {
            return NULL;
        }
        fields->bytes = memory;
        fields->bytes_left = room;
    }
    kept = fields->bytes;
    if (bytes.len > 0) {
        memcpy(kept, bytes.data, bytes.len);
    }
    fields->bytes += bytes.len;
    fields->bytes_left -= bytes.len;
    return kept;
}

static int grow_items(struct weir_fields *fields)
{
    uint32_t capacity = fields->capacity < 8 ? 32 : fields->capacity * 2;
    size_t room;
    uint8_t *memory;

    if (fields->count >= WEIR__FIELDS_MAX) {
        return WEIR_ELIMIT;
    }
    memory = add_block(fields, capacity * sizeof(struct weir_field), &room);
    if (memory == NULL) {
        return WEIR_ENOMEM;
    }
    memcpy(memory, fields->items, fields->count * sizeof(struct weir_field));
    fields->items = (struct weir_field *)(void *)memory;
    fields->capacity = (uint32_t)(room / sizeof(struct weir_field));
    return 0;
}

int weir_fields_add_borrowed(struct weir_fields *fields, struct weir_view name,
                             struct weir_view value)
{
    weir_check(fields, FIELDS_MAGIC);
    if (!weir__field_is_token(name) || !weir__field_is_value(value)) {
        return WEIR_EINVAL;
    }
    if (fields->count == fields->capacity) {
        int r = grow_items(fields);

        if (r < 0) {
            return r;
        }
    }
    fields->items[fields->count++] = (struct weir_field){name, value};
    return 0;
}

int weir_fields_add(struct weir_fields *fields, struct weir_view name, struct weir_view value)
{
    uint8_t *kept_name, *kept_value;

    weir_check(fields, FIELDS_MAGIC);
    if (!weir__field_is_token(name) || !weir__field_is_value(value)) {
        return WEIR_EINVAL;
    }
    kept_name = weir__fields_keep(fields, name);
    kept_value = kept_name != NULL ? weir__fields_keep(fields, value) : NULL;
    if (kept_value == NULL) {
        return WEIR_ENOMEM;
    }
    return weir_fields_add_borrowed(fields, weir_bytes(kept_name, name.len),
                                    weir_bytes(kept_value, value.len));
}

size_t weir_fields_remove(struct weir_fields *fields, struct weir_view name)
{
    uint32_t kept = 0;
    size_t removed;

    weir_check(fields, FIELDS_MAGIC);
    for (uint32_t i = 0; i < fields->count; i++) {
        if (!weir_view_equal_nocase(fields->items[i].name, name)) {
            fields->items[kept++] = fields->items[i];
        }
    }
    removed = fields->count - kept;
    fields->count = kept;
    return removed;
}

size_t weir_fields_count(struct weir_fields *fields)
{
    return fields != NULL ? fields->count : 0;
}

struct weir_field weir_fields_at(struct weir_fields *fields, size_t i)
{
    return i < weir_fields_count(fields) ? fields->items[i]
                                         : (struct weir_field){{NULL, 0}, {NULL, 0}};
}

struct weir_view weir_fields_get(struct weir_fields *fields, struct weir_view name)
{
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        if (weir_view_equal_nocase(fields->items[i].name, name)) {
            return fields->items[i].value;
        }
    }
    return weir_bytes(NULL, 0);
}

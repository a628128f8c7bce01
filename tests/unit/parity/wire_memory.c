/* SPDX-License-Identifier: MIT */
/* Parity over the memory transport. */
#include "../http/http_test.h"

#include "parity.h"

/* Appends a field line of the trace ("  Name: value") as "name: value", unless it is framing. */
static size_t add_line(char *text, size_t size, size_t at, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);

    if (colon == NULL || parity_is_framing(weir_bytes(line, (size_t)(colon - line)))) {
        return at;
    }
    for (size_t i = 0; i < len && at + 2 < size; i++) {
        char c = line[i];

        text[at++] = line + i < colon && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    text[at++] = '\n';
    text[at] = '\0';
    return at;
}

static size_t add(char *text, size_t size, size_t at, const void *bytes, size_t len)
{
    len = len < size - at - 1 ? len : size - at - 1;
    memcpy(text + at, bytes, len);
    text[at + len] = '\0';
    return at + len;
}

/* What the client saw, from the record: the head, the kept body, the end. */
static void render(const struct weir__memory_result *result, struct weir_view body, char *text,
                   size_t size)
{
    const char *line = scene_trace;
    bool in_head = false, in_end = false;
    size_t trailers_at = 0, at = 0;
    static char trailers[4096];

    text[0] = trailers[0] = '\0';
    at += (size_t)snprintf(text, size, "%d\n", result->status);
    while (*line != '\0') {
        size_t len = strcspn(line, "\n");

        if (len > 2 && line[0] == ' ' && line[1] == ' ') {
            if (in_head) {
                at = add_line(text, size, at, line + 2, len - 2);
            } else if (in_end) {
                trailers_at = add_line(trailers, sizeof(trailers), trailers_at, line + 2, len - 2);
            }
        } else {
            const char *event = memchr(line, ' ', len);

            in_head = event != NULL && strncmp(event, " begin ", 7) == 0;
            in_end = event != NULL && strncmp(event, " end", 4) == 0;
        }
        line += len + (line[len] == '\n');
    }
    at = add(text, size, at, "\n", 1);
    if (body.len > 0) {
        at = add(text, size, at, body.data, body.len);
        at = add(text, size, at, "\n", 1);
    }
    at = add(text, size, at, trailers, trailers_at);
    add(text, size, at, result->ended ? "end\n" : "abort\n", result->ended ? 4 : 6);
}

static char kept[PARITY_BYTES];

static const struct parity_case *present;

static void make_fields(struct scene *scene)
{
    struct weir_fields *fields;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Host"), weir_str("parity")), 0);
    for (size_t i = 0; i < PARITY_FIELDS && present->fields[i].name != NULL; i++) {
        assert_int_equal(weir_fields_add(fields, weir_str(present->fields[i].name),
                                         weir_str(present->fields[i].value)),
                         0);
    }
    scene->opts.fields = fields;
}

static void play_memory(const struct parity_case *one, char *text, size_t size)
{
    size_t length = one->body != NULL ? strlen(one->body) : 0;
    struct weir__memory_step steps[] = {
        {.at_ms = 0, .act = WEIR__MEMORY_SEND, .bytes = length, .data = one->body},
        {.at_ms = 0, .act = WEIR__MEMORY_SEND_END},
    };
    struct scene scene = {
        .handler = one->handler,
        .arg = one->arg,
        .steps = steps,
        .count = length > 0 ? 2 : 0,
        .prepare = make_fields,
        .kept = kept,
        .opts = {.method = one->method,
                 .target = one->target,
                 .body_length = length,
                 .keep = sizeof(kept)},
    };

    present = one;
    play(&scene);
    render(&scene.result, scene.result.kept, text, size);
}

const struct parity_wire parity_memory = {"the memory transport", play_memory};

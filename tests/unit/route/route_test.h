/* SPDX-License-Identifier: MIT */
/* What the tests of middleware share: a chain around a handler, against a scripted peer on a fake clock. */
#ifndef WEIR_TEST_ROUTE_H
#define WEIR_TEST_ROUTE_H

#include "http_test.h"

#include <weir/router.h>

#define MAX_STEPS 8

static struct weir_answer answer; /* of the last request, as the outermost middleware saw it */
static int answer_code;

/* Request fields, from "Name: value" texts; given. */
static inline struct weir_fields *fields_of(const char *const *lines, size_t count)
{
    struct weir_fields *fields = NULL;

    assert_int_equal(weir_fields_create(&fields), 0);
    for (size_t i = 0; i < count; i++) {
        const char *colon = strchr(lines[i], ':');

        assert_int_equal(weir_fields_add(fields, weir_bytes(lines[i], (size_t)(colon - lines[i])),
                                         weir_str(colon + 2)),
                         0);
    }
    return fields;
}

/* Those of the next scene. They are made when it runs, for a scene looks at what is allocated before it and after. */
static const char *const *next_lines;
static size_t next_count;

static inline struct weir_fields *fields_for_next(const char *const *lines, size_t count)
{
    next_lines = lines;
    next_count = count;
    return NULL;
}
#define FIELDS(...) \
    fields_for_next((const char *const[]){__VA_ARGS__}, COUNT(((const char *const[]){__VA_ARGS__})))

static inline int observe(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    (void)arg;
    if (next_count > 0) {
        assert_null(req->fields);
        req->fields = fields_of(next_lines, next_count);
        next_count = 0;
    }
    answer_code = weir_chain_run(next, req);
    weir_req_answer(req, &answer);
    return answer_code;
}

/* Sleeps so many ms before it calls on. */
static inline int wait_first(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    int r = weir_sleep(weir_after_ms(*(int *)arg));

    return r < 0 ? r : weir_chain_run(next, req);
}

/* Plays a scene with up to MAX_STEPS - 1 pieces of middleware around its handler. */
static inline void play_with(struct scene *scene, const struct weir_middleware *items, size_t count)
{
    struct weir_middleware all[MAX_STEPS] = {{observe, NULL}};
    struct weir_chain chain = {all, count + 1, scene->handler, scene->arg};

    assert_true(count < MAX_STEPS);
    if (count > 0) {
        memcpy(all + 1, items, count * sizeof(*items));
    }
    memset(&answer, 0, sizeof(answer));
    scene->handler = weir_chain_handle;
    scene->arg = &chain;
    play(scene);
    scene->handler = chain.handler;
    scene->arg = chain.arg;
}

/* The same while allocations fail, the n-th one and all after it, until it goes through with that status; nothing may be
 * left behind (play_failing() looks at that). */
static inline void survive(const struct scene *model, const struct weir_middleware *items,
                           size_t count, int status)
{
    struct weir_chain chain = {items, count, model->handler, model->arg};
    bool complete = false;

    for (int64_t n = 1; !complete && n < 200; n++) {
        struct scene scene = *model;

        scene.handler = weir_chain_handle;
        scene.arg = &chain;
        play_failing(&scene, n);
        complete = scene.started == 0 && scene.result.ended && scene.result.status == status;
    }
    assert_true(complete);
}

/* Whether the trace of the last scene has this line of a field. */
static inline bool has_line(const char *line)
{
    char text[512];

    snprintf(text, sizeof(text), "\n  %s\n", line);
    return strstr(scene_trace, text) != NULL;
}

static inline int hello(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 200, "hello");
}

/* A stream of pieces of the pattern. */
struct streaming {
    int pieces;
    size_t bytes;
    int every_ms;
};

static inline int stream(struct weir_req *req, void *arg)
{
    const struct streaming *plan = arg;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    for (int i = 0; i < plan->pieces && r == 0; i++) {
        r = emit_pattern(sink, (uint64_t)i * plan->bytes, plan->bytes, -1);
        if (r == 0 && plan->every_ms > 0) {
            r = weir_sleep(weir_after_ms(plan->every_ms));
        }
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

#endif

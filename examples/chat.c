/* SPDX-License-Identifier: MIT */
/*
 * Tokens that another thread makes, relayed as they come. The thread stands for a language model or any other library
 * that computes for long: it knows nothing of HTTP, sends into the handler's bounded mailbox, and is told to stop when
 * the client leaves.
 *
 *     curl -N -d 'why is the sky blue?' http://127.0.0.1:8000/
 *     curl http://127.0.0.1:8000/stats
 *
 * Query: delay_ms, the pause before each token [80].
 */
#include <weir/mailbox.h>
#include <weir/sse.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common.h"

#define PROMPT_BYTES ((size_t)16384)

static atomic_uint_fast64_t running, finished, canceled;

/* ---- the producer: a job on a thread of its own ---- */

struct infer {
    atomic_int refs; /* the handler's and the thread's */
    pthread_mutex_t mutex;
    pthread_cond_t wake; /* the job is to stop */
    bool stop;
    uint64_t delay_ms;
    struct weir_sender *sender; /* the thread's own after its start */
    size_t len;
    char prompt[];
};

static void infer_unref(struct infer *job)
{
    if (atomic_fetch_sub(&job->refs, 1) == 1) {
        pthread_cond_destroy(&job->wake);
        pthread_mutex_destroy(&job->mutex);
        free(job);
    }
}

/* Waits, but not for a job that is to stop. Returns whether to go on. */
static bool infer_pause(struct infer *job)
{
    struct timespec until;
    bool go_on;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(job->delay_ms / 1000);
    until.tv_nsec += (long)(job->delay_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&job->mutex);
    while (!job->stop && r == 0) {
        r = pthread_cond_timedwait(&job->wake, &job->mutex, &until);
    }
    go_on = !job->stop;
    pthread_mutex_unlock(&job->mutex);
    return go_on;
}

/* Sends one token. A full mailbox means a slow client: the model waits for it instead of running ahead. */
static int infer_send(struct infer *job, struct weir_view token)
{
    int r;

    do {
        if (!infer_pause(job)) {
            return WEIR_ECANCELED;
        }
        r = weir_send_text(job->sender, token);
    } while (r == WEIR_EFLOW);
    return r;
}

/* The words of the prompt, each with the space before it, after a few of its own. */
static int infer_words(struct infer *job)
{
    static const char *const opening[] = {"You", " asked:"};
    size_t end = 0, begin = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(opening) / sizeof(opening[0]); i++) {
        r = infer_send(job, weir_str(opening[i]));
    }
    while (r == 0 && end < job->len) {
        begin = end;
        do {
            end++;
        } while (end < job->len && job->prompt[end] != ' ');
        r = infer_send(job, weir_bytes(job->prompt + begin, end - begin));
    }
    return r;
}

static void *infer_run(void *arg)
{
    struct infer *job = arg;
    int r = infer_words(job);

    atomic_fetch_add(r < 0 ? &canceled : &finished, 1);
    atomic_fetch_sub(&running, 1);
    weir_sender_unref(job->sender); /* the last one: weir_receive() then answers 0 */
    infer_unref(job);
    return NULL;
}

/* `sender` is given. */
static int infer_start(struct weir_sender *sender, const char *prompt, size_t len,
                       uint64_t delay_ms, struct infer **ret)
{
    struct infer *job = calloc(1, sizeof(*job) + 1 + len);
    pthread_condattr_t monotonic;
    pthread_t thread;

    if (job == NULL || sender == NULL) {
        free(job);
        weir_sender_unref(sender);
        return WEIR_ENOMEM;
    }
    atomic_init(&job->refs, 2);
    pthread_mutex_init(&job->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&job->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    job->delay_ms = delay_ms;
    job->sender = sender;
    job->prompt[0] = ' ';
    memcpy(job->prompt + 1, prompt, len);
    job->len = len + 1;
    atomic_fetch_add(&running, 1);
    if (pthread_create(&thread, NULL, infer_run, job) != 0) {
        atomic_fetch_sub(&running, 1);
        weir_sender_unref(sender);
        infer_unref(job);
        infer_unref(job);
        return WEIR_ENOMEM;
    }
    pthread_detach(thread);
    *ret = job;
    return 0;
}

/* Never blocks: the thread sees it at its next token. */
static void infer_cancel(struct infer *job)
{
    pthread_mutex_lock(&job->mutex);
    job->stop = true;
    pthread_cond_signal(&job->wake);
    pthread_mutex_unlock(&job->mutex);
}

/* ---- the handler ---- */

/* The whole prompt; on the heap, for fibers have small stacks. */
static int read_prompt(struct weir_req *req, char **ret, size_t *ret_len)
{
    struct weir_chunk *chunk = NULL;
    size_t len = 0;
    char *prompt = NULL;
    int r = weir_req_limit_body(req, PROMPT_BYTES);

    if (r < 0) {
        return r;
    }
    prompt = malloc(PROMPT_BYTES);
    if (prompt == NULL) {
        return WEIR_ENOMEM;
    }
    while ((r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        memcpy(prompt + len, weir_chunk_view(chunk).data, weir_chunk_len(chunk));
        len += weir_chunk_len(chunk);
        chunk = weir_chunk_unref(chunk);
    }
    if (r < 0) {
        free(prompt);
        return r;
    }
    *ret = prompt;
    *ret_len = len;
    return 0;
}

static int relay(struct weir_req *req, struct infer *job)
{
    struct weir_sink *out = NULL;
    struct weir_msg msg;
    int r = weir_sse_begin(req, 200, NULL, &out);

    while (r == 0 && (r = weir_receive(-1, &msg)) == 1) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_msg_text(&msg)});
        weir_msg_drop(&msg);
    }
    if (r < 0) {
        infer_cancel(job); /* the client is gone, or has stalled too long */
    } else {
        r = weir_sse_emit(out, &(struct weir_event){.event = "done", .data = weir_str("")});
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

static int chat(struct weir_req *req)
{
    uint64_t delay_ms = weir_req_query_u64(req, "delay_ms", 80);
    struct infer *job = NULL;
    char *prompt = NULL;
    size_t len = 0;
    int r;

    if (delay_ms < 1 || delay_ms > 60000) {
        return weir_reply_text(req, 400, "delay_ms is 1 to 60000\n");
    }
    r = read_prompt(req, &prompt, &len);
    if (r < 0) {
        return r;
    }
    r = infer_start(weir_sender_create(), prompt, len, delay_ms, &job);
    free(prompt);
    if (r < 0) {
        return r;
    }
    r = relay(req, job);
    infer_unref(job);
    return r;
}

static int stats(struct weir_req *req)
{
    char text[160];
    int len =
        snprintf(text, sizeof(text),
                 "{\"running\":%" PRIu64 ",\"finished\":%" PRIu64 ",\"canceled\":%" PRIu64 "}\n",
                 (uint64_t)atomic_load(&running), (uint64_t)atomic_load(&finished),
                 (uint64_t)atomic_load(&canceled));

    return weir_reply_bytes(req, 200, NULL, "application/json", weir_bytes(text, (size_t)len));
}

static int handle(struct weir_req *req, void *arg)
{
    (void)arg;
    if (weir_view_equal(weir_req_path(req), weir_str("/stats"))) {
        return stats(req);
    }
    if (!weir_view_equal(weir_req_path(req), weir_str("/"))) {
        return weir_reply_text(req, 404, "no such page\n");
    }
    if (!weir_view_equal(weir_req_method(req), weir_str("POST"))) {
        return example_not_allowed(req, "POST");
    }
    return chat(req);
}

int main(int argc, char **argv)
{
    return example_main(
        argc, argv,
        &(struct example){
            .name = "chat",
            .about = "POST a prompt to /, get tokens as events; /stats; query: delay_ms",
            .handler = handle,
        });
}

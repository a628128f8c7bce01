/* SPDX-License-Identifier: MIT */
/*
 * A long job and a page that shows it. The job has a thread of its own and belongs to no viewer: who opens the page, today
 * or from another machine, sees the same steps. Each step is in the journal, a file, before it is told to anybody; so
 * whatever ends this program, the next one goes on behind the last step, and a page that comes back with the Last-Event-ID
 * gets what it has missed.
 *
 *     progress --journal primes.journal          then look at http://127.0.0.1:8000/
 *     curl -N -H 'Last-Event-ID: 7' http://127.0.0.1:8000/events
 *
 * The job counts primes. The journal has a line for each step, the primes so far.
 */
#include <weir/weir.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include "common.h"
#include "progress_page.h"

#define NUMBERS_PER_STEP ((uint64_t)50000)
#define MAX_STEPS 1000
#define MESSAGE_BYTES ((size_t)128)
#define HEARTBEAT_MS 15000
#define RETRY_MS 1000

struct progress {
    char path[512]; /* of the journal */
    uint64_t steps, step_ms;
    struct weir_router *router;
    struct weir_topic *topic; /* item n is step n, and so is the event with the id n */
    /* The job's own. */
    FILE *journal;
    pthread_t thread;
    int stop_fd; /* readable: it is to stop */
    uint64_t step, primes;
};

/* ---- the job ---- */

static uint64_t primes_in(uint64_t from, uint64_t to)
{
    uint64_t count = 0;

    for (uint64_t n = from < 2 ? 2 : from; n < to; n++) {
        uint64_t divisor = 2;

        while (divisor * divisor <= n && n % divisor != 0) {
            divisor++;
        }
        count += divisor * divisor > n;
    }
    return count;
}

/* Tells the viewers of the step that was done. */
static int publish(struct progress *job)
{
    char text[MESSAGE_BYTES];

    snprintf(text, sizeof(text),
             "{\"step\":%" PRIu64 ",\"steps\":%" PRIu64 ",\"below\":%" PRIu64 ",\"primes\":%" PRIu64
             "}",
             job->step, job->steps, job->step * NUMBERS_PER_STEP, job->primes);
    return weir_topic_publish_bytes(job->topic, 0, weir_str(text), NULL);
}

/* First into the journal, and on the disk: what a viewer has seen no restart forgets. */
static int record(struct progress *job)
{
    if (fprintf(job->journal, "%" PRIu64 "\n", job->primes) < 0 || fflush(job->journal) != 0 ||
        fdatasync(fileno(job->journal)) != 0) {
        return WEIR_EIO;
    }
    return publish(job);
}

static int fail(struct progress *job, int code, const char *why)
{
    fprintf(stderr, "progress: %s: %s\n", job->path, why);
    return code;
}

static bool told_to_stop(struct progress *job)
{
    struct pollfd stop = {.fd = job->stop_fd, .events = POLLIN};

    return poll(&stop, 1, (int)job->step_ms) == 1;
}

static void *work(void *arg)
{
    struct progress *job = arg;
    int r = 0;

    while (r == 0 && job->step < job->steps) {
        if (told_to_stop(job)) {
            return NULL; /* it is not over: another process goes on */
        }
        job->primes += primes_in(job->step * NUMBERS_PER_STEP, (job->step + 1) * NUMBERS_PER_STEP);
        job->step++;
        r = record(job);
    }
    weir_topic_close(job->topic, r < 0 ? fail(job, r, weir_strerror(r)) : 0);
    return NULL;
}

/* Takes up what earlier processes have done. A last line without its end is of a step that was never told: it goes. */
static int recover(struct progress *job)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    off_t end = 0;
    int r = 0;

    while (r == 0 && (len = getline(&line, &size, job->journal)) > 0 && line[len - 1] == '\n') {
        if (job->step == job->steps ||
            weir_view_to_u64(weir_bytes(line, (size_t)len - 1), &job->primes) < 0) {
            r = fail(job, WEIR_EINVAL, "not of this job");
        } else {
            job->step++;
            end += len;
            r = publish(job);
        }
    }
    free(line);
    if (r == 0 && (ferror(job->journal) || ftruncate(fileno(job->journal), end) != 0 ||
                   fseek(job->journal, 0, SEEK_END) != 0)) {
        r = fail(job, WEIR_EIO, strerror(errno));
    }
    return r;
}

static int start(void *arg)
{
    struct progress *job = arg;
    int r = weir_topic_create(&(struct weir_topic_opts){.max_items = job->steps}, &job->topic);

    if (r < 0) {
        return r;
    }
    job->journal = fopen(job->path, "a+e");
    if (job->journal == NULL) {
        return fail(job, WEIR_EIO, strerror(errno));
    }
    if (flock(fileno(job->journal), LOCK_EX | LOCK_NB) != 0) {
        return fail(job, WEIR_EBUSY, "another process is at this job");
    }
    r = recover(job);
    if (r < 0) {
        return r;
    }
    fprintf(stderr, "progress: %s: goes on after step %" PRIu64 "\n", job->path, job->step);
    job->stop_fd = eventfd(0, EFD_CLOEXEC);
    return job->stop_fd >= 0 && pthread_create(&job->thread, NULL, work, job) == 0 ? 0 : WEIR_EIO;
}

static void stop(void *arg)
{
    struct progress *job = arg;

    eventfd_write(job->stop_fd, 1);
    pthread_join(job->thread, NULL);
}

/* ---- the viewers ---- */

static int page(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_html(req, 200, weir_str(progress_page));
}

/* Where a viewer begins: behind the step it has seen last, or at the first one. Returns as weir_topic_subscribe(). */
static int subscribe(struct weir_req *req, struct progress *job, struct weir_subscription **ret)
{
    struct weir_subscribe_opts opts = {.from = WEIR_TOPIC_FROM_OLDEST};

    if (weir_view_to_u64(weir_sse_last_event_id(req), &opts.after_id) == 0) {
        opts.from = WEIR_TOPIC_FROM_AFTER;
        fprintf(stderr, "progress: a viewer is back, Last-Event-ID %" PRIu64 "\n", opts.after_id);
    }
    return weir_topic_subscribe(job->topic, &opts, ret);
}

static int emit_step(struct weir_sink *out, const struct weir_topic_item *item)
{
    char id[24];

    snprintf(id, sizeof(id), "%" PRIu64, item->id);
    return weir_sse_emit(out, &(struct weir_event){.id = id, .data = weir_chunk_view(item->chunk)});
}

static int events(struct weir_req *req, void *arg)
{
    struct weir_subscription *subscription = NULL;
    struct weir_topic_item item = {0};
    struct weir_sink *out = NULL;
    int r = subscribe(req, arg, &subscription);
    bool is_stranger = r == 1; /* it has seen a step that was never done: of another journal */

    if (r >= 0) {
        r = weir_sse_config(
            req, &(struct weir_sse_opts){.heartbeat_ms = HEARTBEAT_MS, .retry_ms = RETRY_MS});
    }
    if (r == 0) {
        r = weir_sse_begin(req, 200, NULL, &out);
    }
    if (r == 0 && is_stranger) {
        r = weir_sse_emit(out, &(struct weir_event){.event = "reset", .data = weir_str("")});
    }
    while (r == 0 && (r = weir_topic_next(subscription, -1, &item)) == 1) {
        r = emit_step(out, &item);
        weir_topic_item_drop(&item);
    }
    if (r == 0) { /* the job is done; an end without a word would bring EventSource back */
        r = weir_sse_emit(out, &(struct weir_event){.event = "done", .data = weir_str("")});
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    weir_subscription_destroy(subscription);
    return r;
}

static int handle(struct weir_req *req, void *arg)
{
    return weir_router_handle(req, ((struct progress *)arg)->router);
}

/* ---- the command line ---- */

static int take_journal(void *arg, struct weir_view value)
{
    struct progress *job = arg;

    if (value.len == 0 || value.len >= sizeof(job->path)) {
        return WEIR_EINVAL;
    }
    memcpy(job->path, value.data, value.len);
    job->path[value.len] = '\0';
    return 0;
}

static int take_steps(void *arg, struct weir_view value)
{
    struct progress *job = arg;

    return weir_view_to_u64(value, &job->steps) < 0 || job->steps < 1 || job->steps > MAX_STEPS
               ? WEIR_EINVAL
               : 0;
}

static int take_step_ms(void *arg, struct weir_view value)
{
    struct progress *job = arg;

    return weir_view_to_u64(value, &job->step_ms) < 0 || job->step_ms > 60000 ? WEIR_EINVAL : 0;
}

static const struct example_option options[] = {
    {"--journal", "FILE        where the steps are kept [progress.journal]", take_journal},
    {"--steps", "N             how many the job has [100]", take_steps},
    {"--step-ms", "N           the pause before each [200]", take_step_ms},
    {0},
};

int main(int argc, char **argv)
{
    struct progress job = {.path = "progress.journal", .steps = 100, .step_ms = 200, .stop_fd = -1};
    int r = weir_router_create(NULL, &job.router);

    if (r == 0) {
        r = weir_router_add(job.router, "GET", "/", page, NULL, NULL);
    }
    if (r == 0) {
        r = weir_router_add(job.router, "GET", "/events", events, &job, NULL);
    }
    if (r == 0) {
        r = example_main(argc, argv,
                         &(struct example){
                             .name = "progress",
                             .about = "a job, and a page that shows it",
                             .handler = handle,
                             .arg = &job,
                             .options = options,
                             .start = start,
                             .stop = stop,
                         });
    }
    weir_topic_unref(job.topic);
    weir_router_destroy(job.router);
    if (job.journal != NULL) {
        fclose(job.journal);
    }
    if (job.stop_fd >= 0) {
        close(job.stop_fd);
    }
    return r < 0 ? 1 : r;
}

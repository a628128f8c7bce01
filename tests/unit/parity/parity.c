/* SPDX-License-Identifier: MIT */
/*
 * Plays cases over wires, and says which differ. Clients are fibers that follow their steps by asking the wire again
 * and again, a millisecond apart; all order between clients and handlers comes from what they note, not from times.
 */
#include "parity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <time.h>

#include <weir/compress.h>
#include <weir/rt.h>
#include <weir/sources.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "http/memory.h"
#include "rt/fiber.h"
#include "rt/loop.h"

#define PATIENCE_MS 60000
#define SHOWN_BYTES 16384 /* of a body; what is longer has to be the pattern */
#define LANE_FIELD "parity-ask"

static const struct parity_wire *const parity_wires[] = {&parity_memory, &parity_h1};

struct text {
    char bytes[32768];
    size_t len;
};

struct parity_seen {
    struct text head, trailers; /* head: all heads */
    uint8_t body[SHOWN_BYTES];
    uint64_t body_bytes;
    char coding[16];
    bool is_pattern, in_body;
    int status;
    const char *end; /* "end", "abort"; NULL: not over */
    const char *wrong;
};

struct lane {
    const struct parity_wire *wire;
    const struct parity_request *request;
    struct parity_seen seen;
    struct text notes; /* under the lock */
    bool left, over;
};

static struct {
    const struct parity_case *one;
    struct lane lanes[PARITY_ASKS];
    size_t count;
    struct text marks; /* under the lock */
    pthread_mutex_t lock;
} play = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- texts ---- */

static void add_v(struct text *text, const char *format, va_list args)
{
    size_t room = sizeof(text->bytes) - text->len;
    int len = vsnprintf(text->bytes + text->len, room, format, args);

    if (len > 0) {
        text->len += (size_t)len < room ? (size_t)len : room - 1;
    }
}

static void add(struct text *text, const char *format, ...) WEIR_PRINTF(2, 3);
static void add(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add_v(text, format, args);
    va_end(args);
}

/* Bytes as they are, or escaped where a text has no place for them. */
static void add_bytes(struct text *text, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' || (bytes[i] >= ' ' && bytes[i] < 127)) {
            add(text, "%c", bytes[i]);
        } else {
            add(text, "\\x%02x", bytes[i]);
        }
    }
}

/* ---- what was noted ---- */

static const int lane_key;

static struct lane *lane_of(struct weir_req *req)
{
    const struct lane *lane = weir_req_get(req, &lane_key);

    return lane != NULL ? &play.lanes[lane - play.lanes] : &play.lanes[0];
}

void parity_note(struct weir_req *req, const char *format, ...)
{
    struct lane *lane = lane_of(req);
    va_list args;

    pthread_mutex_lock(&play.lock);
    va_start(args, format);
    add_v(&lane->notes, format, args);
    va_end(args);
    add(&lane->notes, "\n");
    pthread_mutex_unlock(&play.lock);
}

static bool has_line(const struct text *text, const char *line)
{
    const char *at = text->bytes;
    size_t len = strlen(line);

    while (*at != '\0') {
        if (strncmp(at, line, len) == 0) {
            return true;
        }
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
    return false;
}

static bool was_noted(const char *line)
{
    bool found;

    pthread_mutex_lock(&play.lock);
    found = has_line(&play.marks, line);
    for (size_t i = 0; i < play.count; i++) {
        found |= has_line(&play.lanes[i].notes, line);
    }
    pthread_mutex_unlock(&play.lock);
    return found;
}

int parity_await(const char *text)
{
    int64_t until = weir_after_ms(PATIENCE_MS);
    int r = 0;

    while (r == 0 && !was_noted(text)) {
        r = weir_now() > until ? WEIR_ETIMEDOUT : weir_sleep(weir_after_ms(1));
    }
    return r;
}

void parity_block(const char *text)
{
    for (int i = 0; i < PATIENCE_MS && !was_noted(text); i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

const char *parity_name(int r)
{
    return r < 0 ? weir_err_name(r) : r == 0 ? "0" : "1";
}

static void mark(const char *text)
{
    pthread_mutex_lock(&play.lock);
    add(&play.marks, "%s\n", text);
    pthread_mutex_unlock(&play.lock);
}

/* ---- the pattern ---- */

uint8_t parity_byte(uint64_t position)
{
    return weir__memory_byte(position);
}

int parity_emit_pattern(struct weir_sink *out, uint64_t position, size_t bytes)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *chunk = NULL;
    int r = weir_chunk_create(bytes, &chunk);

    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < bytes; i++) {
        weir_chunk_data(chunk)[i] = parity_byte(position + i);
    }
    return weir_emit(out, chunk, -1);
}

/* ---- what a client saw ---- */

static bool is_framing(struct weir_view name)
{
    static const char *const framing[] = {"transfer-encoding", "connection", "keep-alive", "date"};

    for (size_t i = 0; i < sizeof(framing) / sizeof(framing[0]); i++) {
        if (weir_view_equal_nocase(name, weir_str(framing[i]))) {
            return true;
        }
    }
    return false;
}

void parity_saw_status(struct parity_seen *seen, int status)
{
    if (seen->status >= 200) {
        parity_saw_wrong(seen, "a head behind the final one");
    }
    seen->status = status;
    add(&seen->head, "%d\n", status);
}

void parity_saw_field(struct parity_seen *seen, struct weir_view name, struct weir_view value)
{
    struct text *text = seen->in_body ? &seen->trailers : &seen->head;

    if (is_framing(name)) {
        return;
    }
    for (size_t i = 0; i < name.len; i++) {
        add(text, "%c",
            name.data[i] >= 'A' && name.data[i] <= 'Z' ? name.data[i] + 32 : name.data[i]);
    }
    add(text, ": ");
    add_bytes(text, value.data, value.len);
    add(text, "\n");
    if (!seen->in_body && weir_view_equal_nocase(name, weir_str("content-encoding"))) {
        snprintf(seen->coding, sizeof(seen->coding), "%.*s", (int)value.len,
                 (const char *)value.data);
    }
}

void parity_saw_head_end(struct parity_seen *seen)
{
    add(&seen->head, "\n");
    seen->in_body = seen->status >= 200;
}

void parity_saw_body(struct parity_seen *seen, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        seen->is_pattern &= bytes[i] == parity_byte(seen->body_bytes);
        if (seen->body_bytes < sizeof(seen->body)) {
            seen->body[seen->body_bytes] = bytes[i];
        }
        seen->body_bytes++;
    }
    if (!seen->in_body || seen->end != NULL) {
        parity_saw_wrong(seen, "a body out of place");
    }
}

void parity_saw_end(struct parity_seen *seen)
{
    if (!seen->in_body || seen->end != NULL) {
        parity_saw_wrong(seen, "an end out of place");
    }
    seen->end = "end";
}

void parity_saw_abort(struct parity_seen *seen)
{
    seen->end = "abort";
}

bool parity_saw_all(struct parity_seen *seen)
{
    return seen->end != NULL;
}

void parity_saw_wrong(struct parity_seen *seen, const char *what)
{
    seen->wrong = what;
    seen->end = "wrong";
}

/* ---- clients ---- */

static struct weir_view trailer_name(const char *line)
{
    const char *colon = line != NULL ? strchr(line, ':') : NULL;

    return colon != NULL ? weir_bytes(line, (size_t)(colon - line)) : weir_bytes(NULL, 0);
}

static struct weir_view trailer_value(const char *line)
{
    const char *colon = line != NULL ? strchr(line, ':') : NULL;

    return colon != NULL ? weir_str(colon + 2) : weir_bytes(NULL, 0);
}

/* Whether the step is done; it is asked again a millisecond later. */
static bool is_done(struct lane *lane, struct parity_peer *peer, const struct parity_step *step,
                    uint64_t taken_before)
{
    const struct parity_wire *wire = lane->wire;
    struct parity_seen *seen = &lane->seen;
    uint64_t left = taken_before + step->bytes - seen->body_bytes;

    switch (step->act) {
    case PARITY_SEND:
    case PARITY_END:
        /* One that was answered already need not be able to send all of it. */
        if (wire->is_sent(peer)) {
            return true;
        }
        wire->read(peer, SIZE_MAX);
        return parity_saw_all(seen);
    case PARITY_CONTINUE:
        wire->read(peer, 0);
        return seen->status == 100 || seen->in_body || parity_saw_all(seen);
    case PARITY_HEAD:
        wire->read(peer, 0);
        return seen->in_body || parity_saw_all(seen);
    case PARITY_TAKE:
        if (left > 0) {
            wire->read(peer, (size_t)left);
            left = taken_before + step->bytes - seen->body_bytes;
        }
        return left == 0 || parity_saw_all(seen);
    case PARITY_AWAIT:
        return was_noted(step->text);
    case PARITY_NOTHING:
        while (!parity_saw_all(seen) && wire->read(peer, SIZE_MAX)) {
        }
        return parity_saw_all(seen);
    default:
        return true;
    }
}

/* What of a step is done once. */
static void begin_step(struct lane *lane, struct parity_peer *peer, const struct parity_step *step)
{
    switch (step->act) {
    case PARITY_SEND:
        lane->wire->send(peer, step->text,
                         step->text != NULL ? strlen(step->text) : (size_t)step->bytes);
        break;
    case PARITY_END:
        lane->wire->end(peer, trailer_name(step->text), trailer_value(step->text));
        break;
    case PARITY_MARK:
        mark(step->text);
        break;
    case PARITY_FIN:
        lane->wire->fin(peer);
        break;
    case PARITY_RESET:
        lane->wire->reset(peer);
        lane->left = true;
        break;
    default:
        break;
    }
}

/* False when it never got done. */
static bool do_step(struct lane *lane, struct parity_peer *peer, const struct parity_step *step)
{
    uint64_t taken_before = lane->seen.body_bytes;
    int64_t until = weir_after_ms(PATIENCE_MS);

    begin_step(lane, peer, step);
    while (!is_done(lane, peer, step, taken_before)) {
        if (weir_now() > until) {
            parity_saw_wrong(&lane->seen, "a step that came to no end");
            return false;
        }
        WEIR_IGNORE(weir_sleep(weir_after_ms(1)));
    }
    return true;
}

static bool all_over_before(const struct lane *lane)
{
    for (const struct lane *other = play.lanes; other < lane; other++) {
        if (!other->over) {
            return false;
        }
    }
    return true;
}

static void run_lane(void *arg)
{
    struct lane *lane = arg;
    const struct parity_request *request = lane->request;
    struct parity_peer *peer;
    bool fine = true;

    while (request->beside != NULL ? !was_noted(request->beside) : !all_over_before(lane)) {
        WEIR_IGNORE(weir_sleep(weir_after_ms(1)));
    }
    peer = lane->wire->open(request, &lane->seen);
    if (request->body != NULL) {
        size_t bytes = request->body_bytes > 0 ? request->body_bytes : strlen(request->body);

        lane->wire->send(peer, request->body, bytes);
        fine = do_step(lane, peer, &(struct parity_step){.act = PARITY_END});
    }
    for (size_t i = 0; fine && i < PARITY_STEPS && request->steps[i].act != PARITY_NOTHING; i++) {
        fine = do_step(lane, peer, &request->steps[i]);
    }
    if (!fine) {
        lane->wire->reset(peer);
    } else if (!lane->left) {
        fine = do_step(lane, peer, &(struct parity_step){.act = PARITY_NOTHING});
    }
    lane->wire->close(peer);
    lane->over = true;
}

static void run_lanes(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < play.count; i++) {
        if (weir__fiber_start(weir__loop_current(), run_lane, &play.lanes[i], NULL) < 0) {
            parity_saw_wrong(&play.lanes[i].seen, "no fiber");
        }
    }
}

/* ---- what is served ---- */

/* Around every handler: whose request it is, and what became of it. */
static int observe(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_view which = weir_req_field(req, LANE_FIELD);
    struct lane *lane = &play.lanes[which.len == 1 ? which.data[0] - '0' : 0];
    struct weir_req_value value = {.key = &lane_key, .value = lane};
    static const char *const sides[] = {"nobody", "handler", "source", "sink"};
    struct weir_answer answer;
    int r;

    (void)arg;
    weir_req_put(req, &value);
    r = weir_chain_run(next, req);
    weir_req_answer(req, &answer);
    if (play.one->encoded || (answer.outcome != WEIR_OUTCOME_COMPLETE && play.one->varies)) {
        answer.body_sent = 0; /* what a library made of it, or how far it came */
    }
    parity_note(req, "returned %s: %d %s, received %llu, sent %llu", parity_name(r), answer.status,
                weir_outcome_name(answer.outcome), (unsigned long long)answer.body_received,
                (unsigned long long)answer.body_sent);
    if (answer.error.code != 0) {
        parity_note(req, "because %s of the %s, %s", weir_err_name(answer.error.code),
                    sides[answer.error.side], weir_reason_name(answer.error.reason));
    }
    return r;
}

/* ---- one case ---- */

static void show_body(const struct parity_seen *seen, struct text *text)
{
    if (seen->body_bytes == 0) {
        return;
    }
    if (seen->body_bytes > 16 && seen->is_pattern) {
        if (play.one->varies && strcmp(seen->end != NULL ? seen->end : "", "end") != 0) {
            add(text, "(the pattern)\n");
        } else {
            add(text, "(%llu bytes of the pattern)\n", (unsigned long long)seen->body_bytes);
        }
    } else if (seen->body_bytes > sizeof(seen->body)) {
        add(text, "(%llu bytes)\n", (unsigned long long)seen->body_bytes);
    } else {
        add_bytes(text, seen->body, (size_t)seen->body_bytes);
        add(text, "\n");
    }
}

/* The body without its coding, where the case says so. */
struct decode {
    const struct parity_seen *seen;
    struct text *text;
};

static void decode(void *arg)
{
    static struct parity_seen plain;
    struct decode *decode = arg;
    const struct parity_seen *seen = decode->seen;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *inner = NULL, *source = NULL;
    struct weir_chunk *chunk;
    int r = weir_bytes_source_create(weir_bytes(seen->body, (size_t)seen->body_bytes), &inner);

    memset(&plain, 0, sizeof(plain));
    plain.is_pattern = plain.in_body = true;
    if (r == 0) {
        r = weir_decode_all_take(weir_take(inner), weir_str(seen->coding), NULL, &source);
    }
    while (r == 0 && (r = weir_next(source, -1, &chunk)) == 1) {
        parity_saw_body(&plain, weir_chunk_data(chunk), weir_chunk_len(chunk));
        weir_chunk_unref(chunk);
        r = 0;
    }
    show_body(&plain, decode->text);
    if (r < 0) {
        add(decode->text, "(%s)\n", weir_err_name(r));
    }
}

static void show_decoded(const struct parity_seen *seen, struct text *text)
{
    struct decode work = {seen, text};
    struct weir__loop *loop;

    if (seen->coding[0] == '\0' || seen->body_bytes == 0) {
        show_body(seen, text);
        return;
    }
    assert_true(seen->body_bytes <= sizeof(seen->body));
    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    assert_int_equal(weir__fiber_start(loop, decode, &work, NULL), 0);
    weir__loop_run_until_idle(loop);
    weir__loop_destroy(loop);
}

static void show(bool decoded, struct text *text)
{
    text->len = 0;
    text->bytes[0] = '\0';
    for (size_t i = 0; i < play.count; i++) {
        const struct lane *lane = &play.lanes[i];
        const struct parity_seen *seen = &lane->seen;

        if (play.count > 1) {
            add(text, "# %zu\n", i + 1);
        }
        add(text, "%s", seen->head.bytes);
        if (decoded) {
            show_decoded(seen, text);
        } else {
            show_body(seen, text);
        }
        add(text, "%s%s\n", seen->trailers.bytes,
            seen->wrong != NULL ? seen->wrong
            : seen->end != NULL ? seen->end
                                : "left");
        add(text, "- %s", lane->notes.len > 0 ? "" : "nothing\n");
        for (const char *at = lane->notes.bytes; *at != '\0';) {
            size_t len = strcspn(at, "\n");

            add(text, "%s", at == lane->notes.bytes ? "" : "- ");
            add_bytes(text, (const uint8_t *)at, len);
            add(text, "\n");
            at += len + 1;
        }
    }
}

/* As many of them as the case has, and a field that tells them apart where there are several. */
static void set_lanes(const struct parity_case *one, const struct parity_wire *wire,
                      struct parity_request requests[PARITY_ASKS])
{
    static char numbers[PARITY_ASKS][2];

    play.one = one;
    play.count = one->asks > 0 ? one->asks : 1;
    play.marks = (struct text){.len = 0};
    for (size_t i = 0; i < play.count; i++) {
        struct lane *lane = &play.lanes[i];

        memset(lane, 0, sizeof(*lane));
        lane->wire = wire;
        lane->seen.is_pattern = true;
        requests[i] = one->ask[i];
        for (size_t k = 0; play.count > 1 && k < PARITY_FIELDS; k++) {
            if (requests[i].fields[k].name == NULL) {
                numbers[i][0] = (char)('0' + i);
                requests[i].fields[k].name = LANE_FIELD;
                requests[i].fields[k].value = numbers[i];
                break;
            }
        }
        lane->request = &requests[i];
    }
}

static void play_once(const struct parity_case *one, const struct parity_wire *wire)
{
    static const struct weir_middleware around[] = {{observe, NULL}};
    struct weir_chain chain = {around, 1, one->handler, one->arg};
    struct parity_request requests[PARITY_ASKS];

    set_lanes(one, wire, requests);
    if (one->set_up != NULL) {
        one->set_up();
    }
    wire->stage(&(struct parity_stage){
        .one = one, .handler = weir_chain_handle, .arg = &chain, .clients = run_lanes});
    if (one->tear_down != NULL) {
        one->tear_down();
    }
}

/* What a first run leaves is a pool of threads or the like; a second one leaves nothing more. */
static void play_case(const struct parity_case *one, const struct parity_wire *wire)
{
    int64_t live = weir__alloc_live();

    play_once(one, wire);
    if (weir__alloc_live() != live) {
        live = weir__alloc_live();
        play_once(one, wire);
        assert_true(weir__alloc_live() == live);
    }
}

static bool differs(const struct parity_case *one, const char *name, const char *wanted_by,
                    const char *wanted, const char *got)
{
    if (strcmp(wanted, got) == 0) {
        return false;
    }
    /* print_error() has no room for so much. */
    fprintf(stderr, "%s over %s:\n--- %s\n%s--- got\n%s---\n", one->name, name, wanted_by, wanted,
            got);
    return true;
}

void parity_check(const struct parity_case *cases, size_t count)
{
    static struct text first, text;
    int wrong = 0;

    for (size_t i = 0; i < count; i++) {
        for (size_t wire = 0; wire < sizeof(parity_wires) / sizeof(parity_wires[0]); wire++) {
            const struct parity_case *one = &cases[i];

            play_case(one, parity_wires[wire]);
            show(false, &text);
            if (one->per_wire != NULL) {
                one->per_wire(text.bytes);
            }
            if (wire == 0) {
                first = text;
            }
            wrong += differs(one, parity_wires[wire]->name, parity_wires[0]->name, first.bytes,
                             text.bytes);
            show(one->encoded, &text);
            if (one->per_wire != NULL) {
                one->per_wire(text.bytes);
            }
            if (one->per_run != NULL) {
                one->per_run(text.bytes);
            }
            wrong += differs(one, parity_wires[wire]->name, "expected", one->expect, text.bytes);
        }
    }
    assert_int_equal(wrong, 0);
}

void parity_hide(char *text, const char *field)
{
    size_t len = strlen(field);

    while (*text != '\0') {
        size_t line = strcspn(text, "\n");

        if (strncmp(text, field, len) == 0 && text[len] == ':') {
            memmove(text + len + 5, text + line, strlen(text + line) + 1);
            memcpy(text + len + 2, "...", 3);
            line = len + 5;
        }
        text += line;
        text += *text == '\n';
    }
}

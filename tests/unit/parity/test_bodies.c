/* SPDX-License-Identifier: MIT */
/* Parity: what a handler sees of a request and its body, in whatever way the body comes, or does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <weir/body.h>
#include <weir/form.h>
#include <weir/guards.h>
#include <weir/multipart.h>
#include <weir/rt.h>

#include "base/cleanup.h"
#include "parity.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int shown(struct weir_view view)
{
    return view.len < 200 ? (int)view.len : 200;
}

static void note_view(struct weir_req *req, const char *what, struct weir_view view)
{
    parity_note(req, "%s%s%.*s", what, weir_view_is_absent(view) ? " absent" : ": ", shown(view),
                view.data != NULL ? (const char *)view.data : "");
}

static void note_trailers(struct weir_req *req)
{
    struct weir_fields *trailers = weir_req_trailers(req);

    for (size_t i = 0; i < weir_fields_count(trailers); i++) {
        struct weir_field field = weir_fields_at(trailers, i);

        parity_note(req, "trailer %.*s=%.*s", shown(field.name), (const char *)field.name.data,
                    shown(field.value), (const char *)field.value.data);
    }
}

/* Field names are compared without case, and come so from a wire that has no capitals. */
static void note_head(struct weir_req *req)
{
    static const char *const ours[] = {"host", "content-length", "transfer-encoding", "expect"};
    struct weir_fields *fields = weir_req_fields(req);

    note_view(req, "method", weir_req_method(req));
    note_view(req, "target", weir_req_target(req));
    note_view(req, "path", weir_req_path(req));
    note_view(req, "query", weir_req_query(req));
    note_view(req, "authority", weir_req_authority(req));
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);
        bool is_ours = false;

        for (size_t k = 0; k < COUNT(ours); k++) {
            is_ours |= weir_view_equal_nocase(field.name, weir_str(ours[k]));
        }
        if (!is_ours) {
            char name[64] = "";

            for (size_t k = 0; k < field.name.len && k < sizeof(name) - 1; k++) {
                char letter = (char)field.name.data[k];

                name[k] = letter >= 'A' && letter <= 'Z' ? (char)(letter + 32) : letter;
            }
            parity_note(req, "%s: %.*s", name, shown(field.value), (const char *)field.value.data);
        }
    }
    if (weir_req_body_length(req) == UINT64_MAX) {
        parity_note(req, "body of unknown length");
    } else {
        parity_note(req, "body of %llu", (unsigned long long)weir_req_body_length(req));
    }
}

static int look(struct weir_req *req, void *arg)
{
    (void)arg;
    note_head(req);
    parity_note(req, "n=%llu", (unsigned long long)weir_req_query_u64(req, "n", 7));
    return weir_reply_empty(req, 204, NULL);
}

/* Reads all there is, and says what it was. */
static int count(struct weir_req *req, void *arg)
{
    struct weir_source *body = weir_req_body(req);
    struct weir_chunk *chunk;
    uint64_t bytes = 0;
    bool pattern = true;
    int r;

    (void)arg;
    while ((r = weir_next(body, -1, &chunk)) == 1) {
        for (size_t i = 0; i < weir_chunk_len(chunk); i++) {
            pattern &= weir_chunk_view(chunk).data[i] == parity_byte(bytes + i);
        }
        bytes += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    if (r == 0) {
        parity_note(req, "%s", pattern ? "the pattern" : "other bytes");
        note_trailers(req);
        parity_note(req, "again: %d", weir_next(body, -1, &chunk));
    }
    return r < 0 ? r : weir_reply_text(req, 200, "%llu\n", (unsigned long long)bytes);
}

static int echo(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    return r < 0 ? r : weir_pipe(weir_req_body(req), out, NULL, NULL);
}

static int whole(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;
    int r = weir_read_all(weir_req_body(req), *(size_t *)arg, -1, &all);

    return r < 0 ? r : weir_reply_bytes(req, 200, NULL, "text/plain", weir_chunk_view(all));
}

static int limited(struct weir_req *req, void *arg)
{
    int r = weir_req_limit_body(req, 4);

    parity_note(req, "limit: %s", parity_name(r));
    return r < 0 ? r : count(req, arg);
}

static int not_limited(struct weir_req *req, void *arg)
{
    parity_note(req, "the handler runs");
    return count(req, arg);
}

static int refuse(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 403, "not you\n");
}

/* Reads so many bytes, says so, and then goes on by what `then` says. */
struct partly {
    uint64_t bytes;
    int (*then)(struct weir_req *req);
};

static int read_some(struct weir_req *req, uint64_t bytes)
{
    struct weir_chunk *chunk;
    int r = 0;

    while (bytes > 0 && (r = weir_next(weir_req_body(req), -1, &chunk)) == 1) {
        bytes -= weir_chunk_len(chunk) < bytes ? weir_chunk_len(chunk) : bytes;
        weir_chunk_unref(chunk);
    }
    return r < 0 ? r : 0;
}

static int partly(struct weir_req *req, void *arg)
{
    const struct partly *plan = arg;
    int r = read_some(req, plan->bytes);

    if (r < 0) {
        return r;
    }
    parity_note(req, "has read");
    return plan->then(req);
}

static int then_replies(struct weir_req *req)
{
    return weir_reply_text(req, 200, "enough\n");
}

static int then_fails(struct weir_req *req)
{
    (void)req;
    return WEIR_EPROTO;
}

static int then_reads_on(struct weir_req *req)
{
    struct weir_chunk *chunk;
    struct weir_error error;
    int r = weir_next(weir_req_body(req), -1, &chunk);

    if (r == 1) {
        parity_note(req, "more: %.*s", (int)weir_chunk_len(chunk),
                    (const char *)weir_chunk_data(chunk));
        weir_chunk_unref(chunk);
        return then_reads_on(req);
    }
    parity_note(req, "read: %s", r < 0 ? weir_err_name(r) : "the end");
    parity_note(req, "again: %d", weir_next(weir_req_body(req), -1, &chunk) == r);
    weir_source_error(weir_req_body(req), &error);
    parity_note(req, "why: %s", weir_reason_name(error.reason));
    return r < 0 ? r : weir_reply_empty(req, 204, NULL);
}

/* A deadline of one's own is no end. */
static int then_waits_shortly(struct weir_req *req)
{
    struct weir_chunk *chunk;

    parity_note(req, "not waiting: %s", parity_name(weir_next(weir_req_body(req), 0, &chunk)));
    parity_note(req, "waiting: %s",
                parity_name(weir_next(weir_req_body(req), weir_after_ms(20), &chunk)));
    parity_note(req, "waited");
    return then_reads_on(req);
}

static int parts(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_multipart_destroyp) struct weir_multipart *form = NULL;
    struct weir_part *part;
    int r = weir_req_multipart(req, arg, &form);

    while (r == 0 && (r = weir_multipart_next(form, -1, &part)) == 1) {
        WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;

        note_view(req, "part", weir_part_name(part));
        note_view(req, "file", weir_part_filename(part));
        note_view(req, "type", weir_part_content_type(part));
        r = weir_read_all(weir_part_body(part), 1000, -1, &all);
        if (r == 0) {
            note_view(req, "bytes", weir_chunk_view(all));
        }
    }
    parity_note(req, "parts: %s", r < 0 ? weir_err_name(r) : "the end");
    return r < 0 ? r : weir_reply_empty(req, 204, NULL);
}

static int form(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *all = NULL;
    int r = weir_form_read(req, NULL, -1, &all);

    (void)arg;
    for (size_t i = 0; r == 0 && i < weir_form_count(all); i++) {
        struct weir_form_field field = weir_form_at(all, i);

        parity_note(req, "%.*s=%.*s", shown(field.name), (const char *)field.name.data,
                    shown(field.value), (const char *)field.value.data);
    }
    return r < 0 ? r : weir_reply_empty(req, 204, NULL);
}

static int decoded(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *plain = NULL;
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;
    int r = weir_req_decoded_body(req, NULL, &plain);

    (void)arg;
    if (r == 0) {
        r = weir_read_all(plain, 10000, -1, &all);
    }
    parity_note(req, "decoded: %s", r < 0 ? weir_err_name(r) : "all");
    if (r == WEIR_EUNSUPPORTED) {
        return weir_reply_text(req, 415, "no such coding\n");
    }
    return r < 0 ? r : weir_reply_bytes(req, 200, NULL, "text/plain", weir_chunk_view(all));
}

static size_t many = 100, few = 4;
static struct partly four_then_replies = {4, then_replies}, four_then_fails = {4, then_fails},
                     four_then_reads_on = {4, then_reads_on},
                     four_then_waits = {4, then_waits_shortly};
static struct weir_multipart_limits small_parts = {.max_part_bytes = 3};
static struct weir_body_limit_opts ten_bytes = {.max_bytes = 10};
static const struct weir_middleware bounded[] = {{weir_mw_body_limit, &ten_bytes}};
static struct weir_chain bounded_chain = {bounded, 1, not_limited, NULL};

#define PARTS                                                                      \
    "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n" \
    "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../x.txt\"\r\n" \
    "Content-Type: text/csv\r\n\r\n1;2\r\n3;4\r\n\r\n--b--\r\n"
#define MULTIPART                                         \
    {                                                     \
        "Content-Type", "multipart/form-data; boundary=b" \
    }
#define URLENCODED                                          \
    {                                                       \
        "Content-Type", "application/x-www-form-urlencoded" \
    }
#define GZIPPED \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\xd7\x51\xc8\x40\xa2\xb8\x00\xe7\x42\x6e\x52\x14\x00\x00\x00"

static const struct parity_case heads[] = {
    {.name = "a plain request",
     .handler = look,
     .expect = "204\n"
               "\n"
               "end\n"
               "- method: GET\n"
               "- target: /\n"
               "- path: /\n"
               "- query absent\n"
               "- authority: parity\n"
               "- body of 0\n"
               "- n=7\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
    {.name = "a request's head",
     .handler = look,
     .ask = {{.method = "PURGE",
              .target = "/a%20b/../c?n=5&x=%3D?",
              .fields = {{"X-B", "2"}, {"X-A", "caf\xc3\xa9"}, {"X-B", "1"}, {"X-Empty", ""}}}},
     .expect = "204\n"
               "\n"
               "end\n"
               "- method: PURGE\n"
               "- target: /a%20b/../c?n=5&x=%3D?\n"
               "- path: /a%20b/../c\n"
               "- query: n=5&x=%3D?\n"
               "- authority: parity\n"
               "- x-b: 2\n"
               "- x-a: caf\\xc3\\xa9\n"
               "- x-b: 1\n"
               "- x-empty: \n"
               "- body of 0\n"
               "- n=5\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
    {.name = "a query that is empty",
     .handler = look,
     .ask = {{.target = "/?"}},
     .expect = "204\n"
               "\n"
               "end\n"
               "- method: GET\n"
               "- target: /?\n"
               "- path: /\n"
               "- query: \n"
               "- authority: parity\n"
               "- body of 0\n"
               "- n=7\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
    {.name = "OPTIONS *",
     .handler = look,
     .ask = {{.method = "OPTIONS", .target = "*"}},
     .expect = "204\n"
               "\n"
               "end\n"
               "- method: OPTIONS\n"
               "- target: *\n"
               "- path: *\n"
               "- query absent\n"
               "- authority: parity\n"
               "- body of 0\n"
               "- n=7\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
    {.name = "a declared body",
     .handler = look,
     .ask = {{.method = "PUT", .body = "12345"}},
     .expect = "204\n"
               "\n"
               "end\n"
               "- method: PUT\n"
               "- target: /\n"
               "- path: /\n"
               "- query absent\n"
               "- authority: parity\n"
               "- body of 5\n"
               "- n=7\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
    {.name = "an undeclared body",
     .handler = look,
     .ask = {{.method = "PUT", .length = PARITY_UNKNOWN, .steps = {SEND("12345"), END}}},
     .expect = "204\n"
               "\n"
               "end\n"
               "- method: PUT\n"
               "- target: /\n"
               "- path: /\n"
               "- query absent\n"
               "- authority: parity\n"
               "- body of unknown length\n"
               "- n=7\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
};

static const struct parity_case reads[] = {
    {.name = "no body",
     .handler = count,
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 2\n"
               "\n"
               "0\n"
               "\n"
               "end\n"
               "- the pattern\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 0, sent 2\n"},
    {.name = "a body at once",
     .handler = count,
     .ask = {{.method = "POST", .body = "12345"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 2\n"
               "\n"
               "5\n"
               "\n"
               "end\n"
               "- other bytes\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 5, sent 2\n"},
    {.name = "a body in pieces",
     .handler = count,
     .ask = {{.method = "POST",
              .length = PARITY_UNKNOWN,
              .steps = {SEND("1"), SEND("23"), SEND("45"), END}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 2\n"
               "\n"
               "5\n"
               "\n"
               "end\n"
               "- other bytes\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 5, sent 2\n"},
    {.name = "an empty body of unknown length",
     .handler = count,
     .ask = {{.method = "POST", .length = PARITY_UNKNOWN, .steps = {END}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 2\n"
               "\n"
               "0\n"
               "\n"
               "end\n"
               "- the pattern\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 0, sent 2\n"},
    {.name = "trailers of a request",
     .handler = count,
     .ask = {{.method = "POST",
              .length = PARITY_UNKNOWN,
              .steps = {SEND("1"), END_WITH("x-sum: 1")}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 2\n"
               "\n"
               "1\n"
               "\n"
               "end\n"
               "- other bytes\n"
               "- trailer x-sum=1\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 1, sent 2\n"},
    {.name = "a large body",
     .handler = count,
     .ask = {{.method = "POST", .length = 3000000, .steps = {SEND_PATTERN(3000000), END}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 8\n"
               "\n"
               "3000000\n"
               "\n"
               "end\n"
               "- the pattern\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 3000000, sent 8\n"},
    {.name = "a large body of unknown length",
     .handler = count,
     .ask = {{.method = "POST", .length = PARITY_UNKNOWN, .steps = {SEND_PATTERN(3000000), END}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 8\n"
               "\n"
               "3000000\n"
               "\n"
               "end\n"
               "- the pattern\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 3000000, sent 8\n"},
    {.name = "all of it",
     .handler = whole,
     .arg = &many,
     .ask = {{.method = "POST", .body = "12345"}},
     .expect = "200\n"
               "content-type: text/plain\n"
               "content-length: 5\n"
               "\n"
               "12345\n"
               "end\n"
               "- returned 0: 200 complete, received 5, sent 5\n"},
    {.name = "its own deadline",
     .handler = partly,
     .arg = &four_then_waits,
     .ask = {{.method = "POST",
              .length = 6,
              .steps = {SEND("1234"), AWAIT("waited"), SEND("56"), END}}},
     .expect = "204\n"
               "\n"
               "end\n"
               "- has read\n"
               "- not waiting: WEIR_EAGAIN\n"
               "- waiting: WEIR_ETIMEDOUT\n"
               "- waited\n"
               "- more: 56\n"
               "- read: the end\n"
               "- again: 1\n"
               "- why: none\n"
               "- returned 0: 204 complete, received 6, sent 0\n"},
};

static const struct parity_case duplex[] = {
    {.name = "echo",
     .handler = echo,
     .ask = {{.method = "POST", .body = "the body"}},
     .expect = "200\n"
               "\n"
               "the body\n"
               "end\n"
               "- returned 0: 200 complete, received 8, sent 8\n"},
    {.name = "echo of nothing",
     .handler = echo,
     .expect = "200\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "echo, large",
     .handler = echo,
     .ask = {{.method = "POST", .length = PARITY_UNKNOWN, .steps = {SEND_PATTERN(2000000), END}}},
     .expect = "200\n"
               "\n"
               "(2000000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 2000000, sent 2000000\n"},
    {.name = "echo, word by word",
     .handler = echo,
     .ask = {{.method = "POST",
              .length = PARITY_UNKNOWN,
              .steps = {UNTIL_HEAD, SEND("a"), TAKE(1), SEND("bc"), TAKE(2), END}}},
     .expect = "200\n"
               "\n"
               "abc\n"
               "end\n"
               "- returned 0: 200 complete, received 3, sent 3\n"},
};

static const struct parity_case limits[] = {
    {.name = "over a declared limit",
     .handler = limited,
     .ask = {{.method = "POST", .body = "12345"}},
     .expect = "413\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 24\n"
               "\n"
               "over a configured limit\n"
               "\n"
               "end\n"
               "- limit: WEIR_ELIMIT\n"
               "- returned WEIR_ELIMIT: 413 complete, received 0, sent 24\n"},
    {.name = "at the limit",
     .handler = limited,
     .ask = {{.method = "POST", .body = "1234"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 2\n"
               "\n"
               "4\n"
               "\n"
               "end\n"
               "- limit: 0\n"
               "- other bytes\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 4, sent 2\n"},
    {.name = "over a counted limit",
     .handler = limited,
     .ask = {{.method = "POST", .length = PARITY_UNKNOWN, .steps = {SEND("123"), SEND("45"), END}}},
     .expect = "413\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 24\n"
               "\n"
               "over a configured limit\n"
               "\n"
               "end\n"
               "- limit: 0\n"
               "- returned WEIR_ELIMIT: 413 complete, received 5, sent 24\n"},
    {.name = "over the limit of read_all",
     .handler = whole,
     .arg = &few,
     .ask = {{.method = "POST", .body = "12345"}},
     .expect = "413\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 24\n"
               "\n"
               "over a configured limit\n"
               "\n"
               "end\n"
               "- returned WEIR_ELIMIT: 413 complete, received 0, sent 24\n"},
    {.name = "over the limit of a middleware",
     .handler = weir_chain_handle,
     .arg = &bounded_chain,
     .ask = {{.method = "POST", .body = "12345678901"}},
     .expect = "413\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 26\n"
               "\n"
               "the body is over 10 bytes\n"
               "\n"
               "end\n"
               "- returned 0: 413 complete, received 0, sent 26\n"},
    {.name = "within the limit of a middleware",
     .handler = weir_chain_handle,
     .arg = &bounded_chain,
     .ask = {{.method = "POST", .body = "1234567890"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 3\n"
               "\n"
               "10\n"
               "\n"
               "end\n"
               "- the handler runs\n"
               "- other bytes\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 10, sent 3\n"},
};

static const struct parity_case early[] = {
    {.name = "answered early, the body unread",
     .handler = refuse,
     .ask = {{.method = "POST", .length = 500000, .steps = {SEND_PATTERN(500000), END}}},
     .expect = "403\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 8\n"
               "\n"
               "not you\n"
               "\n"
               "end\n"
               "- returned 0: 403 complete, received 0, sent 8\n"},
    {.name = "413 early, the body unread",
     .handler = limited,
     .ask = {{.method = "POST", .length = 500000, .steps = {SEND_PATTERN(500000), END}}},
     .expect = "413\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 24\n"
               "\n"
               "over a configured limit\n"
               "\n"
               "end\n"
               "- limit: WEIR_ELIMIT\n"
               "- returned WEIR_ELIMIT: 413 complete, received 0, sent 24\n"},
    {.name = "answered early, the body never sent",
     .handler = refuse,
     .ask = {{.method = "POST", .length = 500000, .steps = {SEND_PATTERN(1000)}}},
     .expect = "403\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 8\n"
               "\n"
               "not you\n"
               "\n"
               "end\n"
               "- returned 0: 403 complete, received 0, sent 8\n"},
    {.name = "answered in the middle of the body",
     .handler = partly,
     .arg = &four_then_replies,
     .ask = {{.method = "POST", .length = 6, .steps = {SEND("1234"), UNTIL_HEAD, SEND("56"), END}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 7\n"
               "\n"
               "enough\n"
               "\n"
               "end\n"
               "- has read\n"
               "- returned 0: 200 complete, received 4, sent 7\n"},
    {.name = "failed in the middle of the body",
     .handler = partly,
     .arg = &four_then_fails,
     .ask = {{.method = "POST", .length = 6, .steps = {SEND("1234"), UNTIL_HEAD, SEND("56"), END}}},
     .expect = "400\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 19\n"
               "\n"
               "protocol violation\n"
               "\n"
               "end\n"
               "- has read\n"
               "- returned WEIR_EPROTO: 400 complete, received 4, sent 19\n"},
    {.name = "100 when the body is wanted",
     .handler = count,
     .ask = {{.method = "POST",
              .length = 5,
              .expect_continue = true,
              .steps = {UNTIL_CONTINUE, SEND("12345"), END}}},
     .expect = "100\n"
               "\n"
               "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 2\n"
               "\n"
               "5\n"
               "\n"
               "end\n"
               "- other bytes\n"
               "- again: 0\n"
               "- returned 0: 200 complete, received 5, sent 2\n"},
    {.name = "no 100 when it is not wanted",
     .handler = refuse,
     .ask = {{.method = "POST", .length = 5, .expect_continue = true, .steps = {UNTIL_CONTINUE}}},
     .expect = "403\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 8\n"
               "\n"
               "not you\n"
               "\n"
               "end\n"
               "- returned 0: 403 complete, received 0, sent 8\n"},
    {.name = "no 100 over a limit",
     .handler = limited,
     .ask = {{.method = "POST", .length = 5, .expect_continue = true, .steps = {UNTIL_CONTINUE}}},
     .expect = "413\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 24\n"
               "\n"
               "over a configured limit\n"
               "\n"
               "end\n"
               "- limit: WEIR_ELIMIT\n"
               "- returned WEIR_ELIMIT: 413 complete, received 0, sent 24\n"},
};

static const struct parity_case breaks[] = {
    {.name = "reset in the body",
     .handler = partly,
     .arg = &four_then_reads_on,
     .ask = {{.method = "POST", .length = 8, .steps = {SEND("1234"), AWAIT("has read"), RESET}}},
     .expect = "left\n"
               "- has read\n"
               "- read: WEIR_ERESET\n"
               "- again: 1\n"
               "- why: reset\n"
               "- returned WEIR_ERESET: 0 client_gone, received 4, sent 0\n"
               "- because WEIR_ERESET of the sink, reset\n"},
    {.name = "an end in the body",
     .handler = partly,
     .arg = &four_then_reads_on,
     .ask = {{.method = "POST", .length = 8, .steps = {SEND("1234"), AWAIT("has read"), FIN}}},
     .expect = "abort\n"
               "- has read\n"
               "- read: WEIR_ETRUNCATED\n"
               "- again: 1\n"
               "- why: fin\n"
               "- returned WEIR_ETRUNCATED: 0 client_gone, received 4, sent 0\n"
               "- because WEIR_ECLOSED of the sink, fin\n"},
    {.name = "an end in a body of unknown length",
     .handler = partly,
     .arg = &four_then_reads_on,
     .ask = {{.method = "POST",
              .length = PARITY_UNKNOWN,
              .steps = {SEND("1234"), AWAIT("has read"), FIN}}},
     .expect = "abort\n"
               "- has read\n"
               "- read: WEIR_ETRUNCATED\n"
               "- again: 1\n"
               "- why: fin\n"
               "- returned WEIR_ETRUNCATED: 0 client_gone, received 4, sent 0\n"
               "- because WEIR_ECLOSED of the sink, fin\n"},
    {.name = "a stall in the body",
     .handler = partly,
     .arg = &four_then_reads_on,
     .body_gap_ms = 100,
     .ask = {{.method = "POST", .length = 8, .steps = {SEND("1234"), UNTIL_HEAD}}},
     .expect = "408\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 35\n"
               "\n"
               "peer made no progress for too long\n"
               "\n"
               "end\n"
               "- has read\n"
               "- read: WEIR_ESTALLED\n"
               "- again: 1\n"
               "- why: timeout\n"
               "- returned WEIR_ESTALLED: 408 complete, received 4, sent 35\n"},
};

static const struct parity_case forms[] = {
    {.name = "multipart",
     .handler = parts,
     .ask = {{.method = "POST", .fields = {MULTIPART}, .body = PARTS}},
     .expect = "204\n"
               "\n"
               "end\n"
               "- part: a\n"
               "- file absent\n"
               "- type: text/plain\n"
               "- bytes: one\n"
               "- part: f\n"
               "- file: ../x.txt\n"
               "- type: text/csv\n"
               "- bytes: 1;2\\x0d\n"
               "- 3;4\\x0d\n"
               "- \n"
               "- parts: the end\n"
               "- returned 0: 204 complete, received 177, sent 0\n"},
    {.name = "multipart over a limit",
     .handler = parts,
     .arg = &small_parts,
     .ask = {{.method = "POST", .fields = {MULTIPART}, .body = PARTS}},
     .expect = "413\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 24\n"
               "\n"
               "over a configured limit\n"
               "\n"
               "end\n"
               "- part: a\n"
               "- file absent\n"
               "- type: text/plain\n"
               "- bytes: one\n"
               "- part: f\n"
               "- file: ../x.txt\n"
               "- type: text/csv\n"
               "- parts: WEIR_ELIMIT\n"
               "- returned WEIR_ELIMIT: 413 complete, received 177, sent 24\n"},
    {.name = "multipart without its end",
     .handler = parts,
     .ask = {{.method = "POST",
              .fields = {MULTIPART},
              .body = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\none"}},
     .expect = "400\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 34\n"
               "\n"
               "body ended before its framing did\n"
               "\n"
               "end\n"
               "- part: a\n"
               "- file absent\n"
               "- type: text/plain\n"
               "- parts: WEIR_ETRUNCATED\n"
               "- returned WEIR_ETRUNCATED: 400 complete, received 50, sent 34\n"},
    {.name = "no multipart",
     .handler = parts,
     .ask = {{.method = "POST", .fields = {{"Content-Type", "text/plain"}}, .body = PARTS}},
     .expect = "415\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 35\n"
               "\n"
               "this Content-Type is not supported\n"
               "\n"
               "end\n"
               "- parts: WEIR_EUNSUPPORTED\n"
               "- returned WEIR_EUNSUPPORTED: 415 complete, received 0, sent 35\n"},
    {.name = "a form",
     .handler = form,
     .ask = {{.method = "POST", .fields = {URLENCODED}, .body = "a=1&b=x+y%21&a=&=3&%C3%A9"}},
     .expect = "204\n"
               "\n"
               "end\n"
               "- a=1\n"
               "- b=x y!\n"
               "- a=\n"
               "- =3\n"
               "- \\xc3\\xa9=\n"
               "- returned 0: 204 complete, received 25, sent 0\n"},
    {.name = "a malformed form",
     .handler = form,
     .ask = {{.method = "POST", .fields = {URLENCODED}, .body = "a=%2"}},
     .expect = "400\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 19\n"
               "\n"
               "protocol violation\n"
               "\n"
               "end\n"
               "- returned WEIR_EPROTO: 400 complete, received 4, sent 19\n"},
    {.name = "a gzipped body",
     .handler = decoded,
     .ask = {{.method = "POST",
              .fields = {{"Content-Encoding", "gzip"}},
              .body = GZIPPED,
              .body_bytes = sizeof(GZIPPED) - 1}},
     .expect = "200\n"
               "content-type: text/plain\n"
               "content-length: 20\n"
               "\n"
               "hello, hello, hello\n"
               "\n"
               "end\n"
               "- decoded: all\n"
               "- returned 0: 200 complete, received 30, sent 20\n"},
    {.name = "a gzipped body that is cut off",
     .handler = decoded,
     .ask = {{.method = "POST",
              .fields = {{"Content-Encoding", "gzip"}},
              .body = GZIPPED,
              .body_bytes = sizeof(GZIPPED) - 5}},
     .expect = "400\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 34\n"
               "\n"
               "body ended before its framing did\n"
               "\n"
               "end\n"
               "- decoded: WEIR_ETRUNCATED\n"
               "- returned WEIR_ETRUNCATED: 400 complete, received 26, sent 34\n"},
    {.name = "a body of an unknown coding",
     .handler = decoded,
     .ask = {{.method = "POST", .fields = {{"Content-Encoding", "rot13"}}, .body = "uryyb"}},
     .expect = "415\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 15\n"
               "\n"
               "no such coding\n"
               "\n"
               "end\n"
               "- decoded: WEIR_EUNSUPPORTED\n"
               "- returned 0: 415 complete, received 0, sent 15\n"},
};

static void a_request_is_seen_alike(void **state)
{
    (void)state;
    parity_check(heads, COUNT(heads));
}

static void a_body_is_read_alike(void **state)
{
    (void)state;
    parity_check(reads, COUNT(reads));
}

static void both_ways_at_once(void **state)
{
    (void)state;
    parity_check(duplex, COUNT(duplex));
}

static void v6_a_limit_is_the_same_413(void **state)
{
    (void)state;
    parity_check(limits, COUNT(limits));
}

static void answers_before_the_body(void **state)
{
    (void)state;
    parity_check(early, COUNT(early));
}

static void v16_bodies_that_break_off(void **state)
{
    (void)state;
    parity_check(breaks, COUNT(breaks));
}

static void forms_and_codings(void **state)
{
    (void)state;
    parity_check(forms, COUNT(forms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_seen_alike), cmocka_unit_test(a_body_is_read_alike),
        cmocka_unit_test(both_ways_at_once),       cmocka_unit_test(v6_a_limit_is_the_same_413),
        cmocka_unit_test(answers_before_the_body), cmocka_unit_test(v16_bodies_that_break_off),
        cmocka_unit_test(forms_and_codings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

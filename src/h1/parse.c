/* SPDX-License-Identifier: MIT */
/*
 * Splits a whole head strictly and decides its framing, then has llhttp confirm (judge.c). Every rule that keeps two
 * readers of the same bytes from seeing two messages is here; a request that breaks one ends its connection.
 */
#include "h1/parse.h"

#include "h1/judge.h"
#include "h1/line.h"
#include "h1/target.h"

#include <weir/err.h>

#include <string.h>

/* What the fields of one head add up to. */
struct reading {
    struct weir__h1_facts facts;
    struct weir_view host;
    unsigned hosts;
    unsigned codings; /* transfer codings but chunked */
    unsigned chunkeds;
    bool ends_chunked; /* the last coding is chunked */
    bool has_coding_field;
    bool has_empty_coding;
    bool says_close;
    bool says_keep_alive;
    bool says_upgrade;
    bool has_upgrade;
    bool expects_continue;
    bool accepts_trailers;
};

static bool equals(struct weir_view view, const char *lower, size_t len)
{
    return view.len == len && weir_view_equal_nocase(view, weir_bytes(lower, len));
}
#define IS(view, text) equals((view), (text), sizeof(text) - 1)

/* RFC 9110 8.6: digits, once. A list of equal lengths is refused too, for not all readers would see it as one. */
static int read_length(struct reading *reading, struct weir_view value)
{
    uint64_t length;

    if (reading->facts.has_length || weir_view_to_u64(value, &length) != 0 || length > INT64_MAX) {
        return WEIR_EPROTO;
    }
    reading->facts.has_length = true;
    reading->facts.length = length;
    return 0;
}

static void read_codings(struct reading *reading, struct weir_view value)
{
    struct weir_view coding;
    size_t places = 1;

    for (size_t i = 0; i < value.len; i++) {
        places += value.data[i] == ',';
    }
    reading->has_coding_field = true;
    while (weir_view_next_item(&value, &coding) == 1) {
        places--;
        reading->ends_chunked = IS(coding, "chunked");
        if (reading->ends_chunked) {
            reading->chunkeds++;
        } else {
            reading->codings++;
        }
    }
    reading->has_empty_coding |= places != 0; /* RFC 9110 5.6.1.2 bears with it; readers differ */
}

static void read_connection(struct reading *reading, struct weir_view value)
{
    struct weir_view option;

    while (weir_view_next_item(&value, &option) == 1) {
        reading->says_close |= IS(option, "close");
        reading->says_keep_alive |= IS(option, "keep-alive");
        reading->says_upgrade |= IS(option, "upgrade");
    }
}

static void read_te(struct reading *reading, struct weir_view value)
{
    struct weir_view item;

    while (weir_view_next_item(&value, &item) == 1) {
        reading->accepts_trailers |= IS(item, "trailers");
    }
}

/* Whether a tab stands between the colon and the value, or after it. */
static bool has_tab_around(const struct weir_field *field)
{
    const uint8_t *p = field->name.data + field->name.len + 1;

    for (; p < field->value.data; p++) {
        if (*p == '\t') {
            return true;
        }
    }
    for (p = field->value.data + field->value.len; *p != '\r'; p++) {
        if (*p == '\t') {
            return true;
        }
    }
    return false;
}

/* The few fields that a connection acts on. */
static int read_field(struct reading *reading, const struct weir_field *field)
{
    struct weir_view name = field->name;
    struct weir_view value = field->value;

    switch (name.len) {
    case 2:
        if (IS(name, "te")) {
            read_te(reading, value);
        }
        break;
    case 4:
        if (IS(name, "host")) {
            reading->hosts++;
            reading->host = value;
        }
        break;
    case 6:
        if (IS(name, "expect")) {
            reading->expects_continue |= IS(value, "100-continue");
        }
        break;
    case 7:
        reading->has_upgrade |= IS(name, "upgrade");
        break;
    case 10:
        if (IS(name, "connection")) {
            reading->facts.needs_split |= has_tab_around(field);
            read_connection(reading, value);
        }
        break;
    case 14:
        if (IS(name, "content-length")) {
            reading->facts.needs_split |= has_tab_around(field);
            return read_length(reading, value);
        }
        break;
    case 17:
        if (IS(name, "transfer-encoding")) {
            reading->facts.needs_split |= has_tab_around(field);
            read_codings(reading, value);
        }
        break;
    default:
        break;
    }
    return 0;
}

/* Field lines up to the blank line, which must be the last two bytes of [at, end). */
static int read_fields(const uint8_t *at, const uint8_t *end, size_t limit,
                       struct weir__h1_head *head, struct reading *reading)
{
    size_t count = 0;

    while (end - at != 2 || at[0] != '\r' || at[1] != '\n') {
        struct weir_field field;
        int r = weir__h1_take_field(&at, end, &field);

        if (r < 0) {
            return r;
        }
        if (count >= limit || count >= head->field_cap) {
            return WEIR_ELIMIT;
        }
        head->fields[count++] = field;
        r = read_field(reading, &field);
        if (r < 0) {
            return r;
        }
    }
    head->field_count = count;
    return 0;
}

/* RFC 9112 6.1: what can be smuggled in is refused, not repaired. Returns 0, EPROTO or EUNSUPPORTED. */
static int check_framing(struct reading *reading, int minor)
{
    if (!reading->has_coding_field) {
        return 0;
    }
    if (minor == 0 || reading->facts.has_length || !reading->ends_chunked ||
        reading->chunkeds != 1 || reading->has_empty_coding) {
        return WEIR_EPROTO;
    }
    if (reading->codings > 0) {
        return WEIR_EUNSUPPORTED;
    }
    reading->facts.is_chunked = true;
    return 0;
}

static bool keeps_alive(const struct reading *reading, int minor)
{
    return !reading->says_close && (minor == 1 || reading->says_keep_alive);
}

static int refuse(int code, int status, int *ret_status)
{
    *ret_status = status;
    return code;
}

/* "HTTP/1.0" or "HTTP/1.1" at p, of which 8 bytes exist: 0, 1; -1: another version; -2: none at all. */
static int read_version(const uint8_t *p)
{
    if (memcmp(p, "HTTP/", 5) != 0 || !weir__h1_is(p[5], WEIR__H1_DIGIT) || p[6] != '.' ||
        !weir__h1_is(p[7], WEIR__H1_DIGIT)) {
        return -2;
    }
    return p[5] == '1' && p[7] <= '1' ? p[7] - '0' : -1;
}

/* method SP request-target SP HTTP-version CRLF; exactly one blank each. *at moves behind it. */
static int read_request_line(const uint8_t **at, const uint8_t *end, size_t target_bytes,
                             struct weir__h1_head *head, int *ret_status)
{
    const uint8_t *p = *at;
    const uint8_t *start = p;

    while (p < end && weir__h1_is(*p, WEIR__H1_TOKEN)) {
        p++;
    }
    if (p == start || p == end || *p != ' ') {
        return refuse(WEIR_EPROTO, 400, ret_status);
    }
    head->method = weir_bytes(start, (size_t)(p - start));
    start = ++p;
    while (p < end && weir__h1_is(*p, WEIR__H1_TARGET)) {
        p++;
    }
    if (p == start || p == end || *p != ' ') {
        return refuse(WEIR_EPROTO, 400, ret_status);
    }
    head->target = weir_bytes(start, (size_t)(p - start));
    p++;
    if (end - p < 10 || p[8] != '\r' || p[9] != '\n') {
        return refuse(WEIR_EPROTO, 400, ret_status);
    }
    head->minor = read_version(p);
    if (head->minor < 0) {
        return head->minor == -1 ? refuse(WEIR_EUNSUPPORTED, 505, ret_status)
                                 : refuse(WEIR_EPROTO, 400, ret_status);
    }
    if (head->target.len > target_bytes) {
        return refuse(WEIR_ELIMIT, 414, ret_status);
    }
    *at = p + 10;
    return 0;
}

/* RFC 9112 3.2: one Host on 1.1, at most one on 1.0, and always a well-formed one. */
static int settle_host(struct weir__h1_head *head, const struct reading *reading)
{
    struct weir_view authority;
    int r = weir__h1_check_target(head->method, head->target, &authority);

    if (r < 0) {
        return r;
    }
    if (reading->hosts > 1 || (reading->hosts == 0 && head->minor == 1) ||
        (reading->hosts == 1 && !weir__h1_host_is_valid(reading->host, false))) {
        return WEIR_EPROTO;
    }
    head->host = weir_view_is_absent(authority) ? reading->host : authority;
    head->has_host = !weir_view_is_absent(head->host);
    return 0;
}

static int parse_request(struct weir_view bytes, const struct weir__h1_limits *limits,
                         struct weir__h1_head *head, int *ret_status)
{
    const uint8_t *at = bytes.data;
    const uint8_t *end = bytes.data + bytes.len;
    struct reading reading = {0};
    int r;

    if (bytes.len > limits->head_bytes) {
        return refuse(WEIR_ELIMIT, 431, ret_status);
    }
    if (bytes.len >= 2 && at[0] == '\r' && at[1] == '\n') {
        at += 2; /* RFC 9112 2.2: one empty line before a request is borne with */
    }
    bytes = weir_bytes(at, (size_t)(end - at));
    r = read_request_line(&at, end, limits->target_bytes, head, ret_status);
    if (r < 0) {
        return r;
    }
    r = read_fields(at, end, limits->fields, head, &reading);
    if (r < 0) {
        return refuse(r, r == WEIR_ELIMIT ? 431 : 400, ret_status);
    }
    r = settle_host(head, &reading);
    if (r < 0) {
        return refuse(r, 400, ret_status);
    }
    r = check_framing(&reading, head->minor);
    if (r < 0) {
        return refuse(r, r == WEIR_EUNSUPPORTED ? 501 : 400, ret_status);
    }
    switch (weir__h1_judge(bytes, true, head, &reading.facts)) {
    case WEIR__H1_AGREED:
        break;
    case WEIR__H1_UNKNOWN_METHOD:
        return refuse(WEIR_EUNSUPPORTED, 501, ret_status);
    case WEIR__H1_REFUSED:
        return refuse(WEIR_EPROTO, 400, ret_status);
    }
    head->framing = reading.facts.is_chunked   ? WEIR__H1_CHUNKED
                    : reading.facts.has_length ? WEIR__H1_LENGTH
                                               : WEIR__H1_NO_BODY;
    head->length = reading.facts.length;
    head->keep_alive = keeps_alive(&reading, head->minor);
    head->expect_continue = reading.expects_continue && head->minor == 1;
    head->upgrade = reading.says_upgrade && reading.has_upgrade && head->minor == 1;
    head->accepts_trailers = reading.accepts_trailers;
    return 0;
}

int weir__h1_parse_request(struct weir_view head_bytes, const struct weir__h1_limits *limits,
                           struct weir__h1_head *ret, int *ret_status)
{
    struct weir__h1_head head = {.fields = ret->fields, .field_cap = ret->field_cap};
    int r = parse_request(head_bytes, limits, &head, ret_status);

    if (r == 0) {
        *ret = head;
    }
    return r;
}

/* HTTP-version SP 3DIGIT [SP reason] CRLF: many omit the second blank with an empty reason. *at moves behind it. */
static int read_status_line(const uint8_t **at, const uint8_t *end, struct weir__h1_head *head)
{
    const uint8_t *p = *at;
    const uint8_t *start;

    if (end - p < 14) {
        return WEIR_EPROTO;
    }
    head->minor = read_version(p);
    if (head->minor < 0 || p[8] != ' ' || p[9] < '1' || p[9] > '5' ||
        !weir__h1_is(p[10], WEIR__H1_DIGIT) || !weir__h1_is(p[11], WEIR__H1_DIGIT)) {
        return WEIR_EPROTO;
    }
    head->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
    p += 12;
    if (*p == ' ') {
        p++;
    } else if (*p != '\r') {
        return WEIR_EPROTO;
    }
    start = p;
    while (p < end && weir__h1_is(*p, WEIR__H1_TEXT)) {
        p++;
    }
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n') {
        return WEIR_EPROTO;
    }
    head->reason = weir_bytes(start, (size_t)(p - start));
    *at = p + 2;
    return 0;
}

static int parse_response(struct weir_view bytes, const struct weir__h1_limits *limits,
                          struct weir_view request_method, struct weir__h1_head *head)
{
    const uint8_t *at = bytes.data;
    const uint8_t *end = bytes.data + bytes.len;
    struct reading reading = {0};
    bool is_tunnel;
    int r;

    if (bytes.len > limits->head_bytes) {
        return WEIR_ELIMIT;
    }
    r = read_status_line(&at, end, head);
    if (r < 0) {
        return r;
    }
    r = read_fields(at, end, limits->fields, head, &reading);
    if (r < 0) {
        return r;
    }
    /* A coding we cannot take off is as bad as a broken one: we never asked for it. */
    if (check_framing(&reading, head->minor) < 0 ||
        weir__h1_judge(bytes, false, head, &reading.facts) != WEIR__H1_AGREED) {
        return WEIR_EPROTO;
    }
    is_tunnel = head->status / 100 == 2 && weir_view_equal(request_method, weir_str("CONNECT"));
    head->keep_alive = keeps_alive(&reading, head->minor);
    head->upgrade = head->status == 101 || is_tunnel;
    if (is_tunnel || head->status < 200 || head->status == 204 || head->status == 304 ||
        weir_view_equal(request_method, weir_str("HEAD"))) {
        head->framing = WEIR__H1_NO_BODY;
    } else if (reading.facts.is_chunked) {
        head->framing = WEIR__H1_CHUNKED;
    } else if (reading.facts.has_length) {
        head->framing = WEIR__H1_LENGTH;
        head->length = reading.facts.length;
    } else {
        head->framing = WEIR__H1_UNTIL_CLOSE;
        head->keep_alive = false;
    }
    return 0;
}

int weir__h1_parse_response(struct weir_view head_bytes, const struct weir__h1_limits *limits,
                            struct weir_view request_method, struct weir__h1_head *ret)
{
    struct weir__h1_head head = {.fields = ret->fields, .field_cap = ret->field_cap};
    int r = parse_response(head_bytes, limits, request_method, &head);

    if (r == 0) {
        *ret = head;
    }
    return r;
}

static bool is_barred_from_trailers(struct weir_view name)
{
    static const char *const barred[] = {
        "connection", "content-length", "host",    "keep-alive",        "proxy-connection",
        "te",         "trailer",        "upgrade", "transfer-encoding",
    };

    for (size_t i = 0; i < sizeof(barred) / sizeof(barred[0]); i++) {
        if (weir_view_equal_nocase(name, weir_str(barred[i]))) {
            return true;
        }
    }
    return false;
}

int weir__h1_parse_trailers(struct weir_view raw, struct weir_field *fields, size_t cap,
                            size_t *ret_count)
{
    const uint8_t *at = raw.data;
    const uint8_t *end = raw.len > 0 ? raw.data + raw.len : raw.data;
    size_t count = 0;

    while (at < end) {
        struct weir_field field;
        int r = weir__h1_take_field(&at, end, &field);

        if (r < 0) {
            return r;
        }
        if (is_barred_from_trailers(field.name)) {
            continue;
        }
        if (count == cap) {
            return WEIR_ELIMIT;
        }
        fields[count++] = field;
    }
    *ret_count = count;
    return 0;
}

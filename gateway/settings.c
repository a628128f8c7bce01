/* SPDX-License-Identifier: MIT */
/*
 * The table of settings and what reads it. Defaults are texts and go through the same parser as the user's, so the
 * table cannot say one thing in the help and do another. Adding a setting is a field in settings.h and a row here.
 */
#include "settings.h"

#include <limits.h>

#include <weir/err.h>

#include "nearest.h"
#include "quantity.h"

enum type {
    TYPE_DURATION, /* int64_t, milliseconds */
    TYPE_SIZE,     /* uint64_t, bytes */
    TYPE_RATE,     /* uint64_t, bytes per second */
    TYPE_COUNT,    /* uint64_t */
    TYPE_CHOICE,   /* int: one of a few words, true and false included */
    TYPE_LOG,      /* char[GW_PATH_MAX] */
};

struct choice {
    const char *word;
    int value;
};

struct setting {
    const char *key;
    enum type type;
    const char *by_default;
    uint64_t min;
    uint64_t max;
    const char *
        zero; /* what 0 means where it is not just the smallest value; NULL: 0 only if `min` is 0 */
    const struct choice *choices; /* ended by a NULL word */
    const char *doc;
    size_t offset;
};

static const struct choice timeout_status_choices[] = {{"504", 504}, {"408", 408}, {NULL, 0}};

static const struct choice half_close_choices[] = {
    {"deny", GW_HALF_CLOSE_DENY}, {"allow", GW_HALF_CLOSE_ALLOW}, {NULL, 0}};

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define SECOND UINT64_C(1000)
#define HOUR (SECOND * 3600)
#define DAY (HOUR * 24)
#define MANY UINT64_C(10000000)
#define HUGE_SIZE ((uint64_t)INT64_MAX)
#define AT(field) offsetof(struct gw_settings, field)

/* clang-format off */
static const struct setting table[] = {
    {"upstream.timeouts.dial", TYPE_DURATION, "3s", 1, HOUR, NULL, NULL,
     "time to reach the upstream, name look-up included; then 504", AT(upstream.timeouts.dial_ms)},
    {"upstream.timeouts.response_head", TYPE_DURATION, "60s", 1, DAY, "no limit", NULL,
     "time from the request sent to the head of the answer; then 504", AT(upstream.timeouts.response_head_ms)},
    {"upstream.timeouts.first_byte", TYPE_DURATION, "120s", 1, DAY, "no limit", NULL,
     "time from that head to the first byte of the body; then the answer is cut", AT(upstream.timeouts.first_byte_ms)},
    {"upstream.timeouts.idle", TYPE_DURATION, "300s", 1, DAY, "no limit", NULL,
     "silence of an upstream that could send; then the answer is cut", AT(upstream.timeouts.idle_ms)},
    {"upstream.max_connections", TYPE_COUNT, "0", 1, MANY, "no limit", NULL,
     "connections to the upstream at a time, all threads together; over it 503", AT(upstream.max_connections)},
    {"upstream.keepalive", TYPE_COUNT, "256", 0, MANY, "none", NULL,
     "idle upstream connections kept by each thread", AT(upstream.keepalive)},

    {"client.timeouts.head", TYPE_DURATION, "10s", 1, HOUR, NULL, NULL,
     "time for the whole head of a request; then 408", AT(client.timeouts.head_ms)},
    {"client.timeouts.keepalive", TYPE_DURATION, "75s", 1, DAY, "connections are not kept", NULL,
     "how long an idle client connection is kept", AT(client.timeouts.keepalive_ms)},
    {"client.timeouts.body_gap", TYPE_DURATION, "30s", 1, DAY, "no limit", NULL,
     "silence of a client in the middle of its request body; then 408", AT(client.timeouts.body_gap_ms)},
    {"client.timeouts.stall", TYPE_DURATION, "60s", 1, DAY, "no limit", NULL,
     "time a client takes nothing of what is ready for it; then it is cut", AT(client.timeouts.stall_ms)},
    {"client.min_rate", TYPE_RATE, "256", 1, GIB, "none", NULL,
     "bytes per second that a client must keep up, after its first 30s", AT(client.min_rate)},

    {"timeout_status", TYPE_CHOICE, "504", 0, 0, NULL, timeout_status_choices,
     "status when the upstream takes too long; 504 is what RFC 9110 asks for", AT(timeout_status)},

    {"limits.memory", TYPE_SIZE, "0", MIB, HUGE_SIZE, "25 % of the memory of the machine or the cgroup", NULL,
     "bytes of bodies held for all peers together; over it 503", AT(limits.memory)},
    {"limits.connections", TYPE_COUNT, "50000", 1, MANY, NULL, NULL,
     "client connections at a time; over it 503 or a refusal", AT(limits.connections)},
    {"limits.streams", TYPE_COUNT, "50000", 1, MANY, NULL, NULL,
     "requests in work at a time; over it 503", AT(limits.streams)},
    {"limits.head_bytes", TYPE_SIZE, "32KiB", KIB, MIB / 2, NULL, NULL,
     "size of a request's head; over it 431", AT(limits.head_bytes)},
    {"limits.target_bytes", TYPE_SIZE, "8KiB", 64, MIB, NULL, NULL,
     "size of a request's target; over it 414", AT(limits.target_bytes)},
    {"limits.fields", TYPE_COUNT, "100", 8, 1000, NULL, NULL,
     "fields in a head; over it 431", AT(limits.fields)},
    {"limits.body_bytes", TYPE_SIZE, "0", 1, HUGE_SIZE, "no limit", NULL,
     "size of a request's body; over it 413", AT(limits.body_bytes)},
    {"limits.upstream_head_bytes", TYPE_SIZE, "64KiB", KIB, MIB / 2, NULL, NULL,
     "size of an answer's head; over it 502", AT(limits.upstream_head_bytes)},

    {"half_close", TYPE_CHOICE, "deny", 0, 0, NULL, half_close_choices,
     "whether a client that closes its sending side after the request still waits for the answer", AT(half_close)},

    {"drain.bytes", TYPE_SIZE, "1MiB", 0, GIB, "close at once", NULL,
     "how much of an unwanted request body is read so that the client sees the answer", AT(drain.bytes)},
    {"drain.time", TYPE_DURATION, "5s", 0, HOUR, "close at once", NULL,
     "for how long", AT(drain.time_ms)},
    {"shutdown.grace", TYPE_DURATION, "10s", 0, DAY, "cut at once", NULL,
     "time that live exchanges have to end after SIGTERM", AT(shutdown.grace_ms)},

    {"access_log", TYPE_LOG, "stdout", 0, 0, NULL, NULL,
     "where records go, one line of JSON each", AT(access_log)},
    {"access_log_every", TYPE_DURATION, "60s", SECOND, DAY, "only at the end", NULL,
     "how often a live exchange is recorded before its end", AT(access_log_every_ms)},

    {"forward.slow_bytes", TYPE_SIZE, "32KiB", 4 * KIB, MIB, NULL, NULL,
     "unsent bytes left in the kernel for a receiver that is slow, or not known yet", AT(forward.slow_bytes)},
    {"forward.fast_bytes", TYPE_SIZE, "1MiB", 4 * KIB, 64 * MIB, NULL, NULL,
     "the same for one that keeps up", AT(forward.fast_bytes)},
    {"forward.fast_chunk", TYPE_SIZE, "512KiB", 4 * KIB, MIB, NULL, NULL,
     "bytes moved at a time to one that keeps up", AT(forward.fast_chunk)},
    {"forward.fast_after", TYPE_SIZE, "1MiB", 0, 2048 * MIB, "from the second write on", NULL,
     "bytes that must go out without a stall before a receiver counts as keeping up", AT(forward.fast_after)},
    {"forward.stall_reset", TYPE_DURATION, "10ms", 1, HOUR, NULL, NULL,
     "a stall of this length begins that count again", AT(forward.stall_reset_ms)},
    {"forward.stall_slow", TYPE_DURATION, "50ms", 1, HOUR, NULL, NULL,
     "a stall of this length makes a receiver count as slow", AT(forward.stall_slow_ms)},
};
/* clang-format on */

#define TABLE_SIZE (sizeof(table) / sizeof(table[0]))

/* What a value must look like, and from where to where: the end of every message, and a part of the help. */
struct form {
    char text[256];
};

static struct gw_quantity_text number_text(enum type type, uint64_t number)
{
    struct gw_quantity_text out;

    switch (type) {
    case TYPE_DURATION:
        return gw_duration_text((int64_t)number);
    case TYPE_SIZE:
    case TYPE_RATE:
        return gw_size_text(number);
    case TYPE_COUNT:
    case TYPE_CHOICE:
    case TYPE_LOG:
        break;
    }
    snprintf(out.text, sizeof(out.text), "%llu", (unsigned long long)number);
    return out;
}

static struct form range_of(const struct setting *setting)
{
    struct form form;
    struct gw_quantity_text min = number_text(setting->type, setting->min);
    struct gw_quantity_text max = number_text(setting->type, setting->max);

    if (setting->max == HUGE_SIZE) {
        snprintf(form.text, sizeof(form.text), "at least %s", min.text);
    } else {
        snprintf(form.text, sizeof(form.text), "from %s to %s", min.text, max.text);
    }
    if (setting->zero != NULL) {
        size_t at = strlen(form.text);

        snprintf(form.text + at, sizeof(form.text) - at, "%s 0 for: %s",
                 setting->min == 0 ? "," : ", or", setting->zero);
    }
    return form;
}

static struct form form_of(const struct setting *setting)
{
    struct form form = {""};
    size_t at = 0;

    switch (setting->type) {
    case TYPE_DURATION:
        snprintf(form.text, sizeof(form.text), "a duration with units h, m, s, ms, such as 1m30s");
        break;
    case TYPE_SIZE:
        snprintf(form.text, sizeof(form.text), "a size in B, KiB, MiB or GiB, such as 64KiB");
        break;
    case TYPE_RATE:
        snprintf(form.text, sizeof(form.text),
                 "a size per second in B, KiB, MiB or GiB, such as 1KiB/s");
        break;
    case TYPE_COUNT:
        snprintf(form.text, sizeof(form.text), "a whole number");
        break;
    case TYPE_CHOICE:
        for (const struct choice *choice = setting->choices; choice->word != NULL; choice++) {
            at += (size_t)snprintf(form.text + at, sizeof(form.text) - at, "%s%s",
                                   at > 0 ? " or " : "", choice->word);
        }
        break;
    case TYPE_LOG:
        snprintf(form.text, sizeof(form.text), "a path (at most %d bytes), stdout, stderr or off",
                 GW_PATH_MAX - 1);
        break;
    }
    return form;
}

static bool has_range(enum type type)
{
    return type != TYPE_CHOICE && type != TYPE_LOG;
}

static int parse_number(const struct setting *setting, struct weir_view value, uint64_t *ret)
{
    int64_t ms = 0;
    int r;

    switch (setting->type) {
    case TYPE_DURATION:
        r = gw_duration_parse(value, &ms);
        if (r == 0) {
            *ret = (uint64_t)ms;
        }
        return r;
    case TYPE_RATE:
        if (value.len > 2 && memcmp(value.data + value.len - 2, "/s", 2) == 0) {
            value.len -= 2;
        }
        return gw_size_parse(value, ret);
    case TYPE_SIZE:
        return gw_size_parse(value, ret);
    case TYPE_COUNT:
        return weir_view_to_u64(value, ret);
    case TYPE_CHOICE:
    case TYPE_LOG:
        break;
    }
    return WEIR_EINVAL;
}

/* Stores a value; `settings` is untouched on failure. */
static int store(struct gw_settings *settings, const struct setting *setting,
                 struct weir_view value)
{
    char *field = (char *)settings + setting->offset;
    uint64_t number = 0;
    int r;

    if (setting->type == TYPE_LOG) {
        if (value.len == 0 || value.len >= GW_PATH_MAX ||
            memchr(value.data, 0, value.len) != NULL) {
            return WEIR_EINVAL;
        }
        memcpy(field, value.data, value.len);
        field[value.len] = '\0';
        return 0;
    }
    if (setting->type == TYPE_CHOICE) {
        for (const struct choice *choice = setting->choices; choice->word != NULL; choice++) {
            if (weir_view_equal(value, weir_str(choice->word))) {
                memcpy(field, &choice->value, sizeof(choice->value));
                return 0;
            }
        }
        return WEIR_EINVAL;
    }
    r = parse_number(setting, value, &number);
    if (r < 0) {
        return r;
    }
    if ((number < setting->min || number > setting->max) &&
        !(number == 0 && setting->zero != NULL)) {
        return WEIR_ELIMIT;
    }
    /* int64_t and uint64_t hold it alike: no maximum is over INT64_MAX. */
    memcpy(field, &number, sizeof(number));
    return 0;
}

static const char *key_at(size_t i, void *arg)
{
    (void)arg;
    return table[i].key;
}

static int unknown_key(struct weir_view key, struct gw_problem *problem)
{
    size_t near[3];
    size_t count = gw_nearest(key, TABLE_SIZE, key_at, NULL, 3, near);
    char list[160] = "";
    size_t at = 0;

    for (size_t i = 0; i < count && at < sizeof(list); i++) {
        at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i > 0 ? " or " : "",
                               table[near[i]].key);
    }
    if (count > 0) {
        gw_problem_set(problem, "unknown setting %s; did you mean %s?", gw_quote(key).text, list);
    } else {
        gw_problem_set(problem, "unknown setting %s; --help-settings lists them all",
                       gw_quote(key).text);
    }
    return WEIR_ENOTFOUND;
}

int gw_settings_set(struct gw_settings *settings, struct weir_view assignment,
                    struct gw_problem *problem)
{
    const uint8_t *equals =
        assignment.len > 0 ? memchr(assignment.data, '=', assignment.len) : NULL;
    struct weir_view key;
    struct weir_view value;
    int r;

    if (equals == NULL || equals == assignment.data) {
        gw_problem_set(problem, "%s is not of the form KEY=VALUE", gw_quote(assignment).text);
        return WEIR_EINVAL;
    }
    key = weir_bytes(assignment.data, (size_t)(equals - assignment.data));
    value = weir_bytes(equals + 1, assignment.len - key.len - 1);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        const struct setting *setting = &table[i];

        if (!weir_view_equal(key, weir_str(setting->key))) {
            continue;
        }
        r = store(settings, setting, value);
        if (r == WEIR_ELIMIT) {
            gw_problem_set(problem, "%s: %s is out of range; it must be %s", setting->key,
                           gw_quote(value).text, range_of(setting).text);
        } else if (r < 0) {
            gw_problem_set(problem, "%s: %s is not %s%s%s", setting->key, gw_quote(value).text,
                           form_of(setting).text, has_range(setting->type) ? "; " : "",
                           has_range(setting->type) ? range_of(setting).text : "");
        }
        return r;
    }
    return unknown_key(key, problem);
}

void gw_settings_init(struct gw_settings *settings)
{
    memset(settings, 0, sizeof(*settings));
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        /* Cannot fail: a test sets every default by its text. */
        WEIR_IGNORE(store(settings, &table[i], weir_str(table[i].by_default)));
    }
}

int gw_settings_check(const struct gw_settings *settings, struct gw_problem *problem)
{
    if (settings->forward.slow_bytes > settings->forward.fast_bytes) {
        gw_problem_set(problem,
                       "forward.slow_bytes (%s) must not be larger than forward.fast_bytes (%s)",
                       gw_size_text(settings->forward.slow_bytes).text,
                       gw_size_text(settings->forward.fast_bytes).text);
        return WEIR_EINVAL;
    }
    if (settings->forward.stall_reset_ms > settings->forward.stall_slow_ms) {
        gw_problem_set(problem,
                       "forward.stall_reset (%s) must not be longer than forward.stall_slow (%s)",
                       gw_duration_text(settings->forward.stall_reset_ms).text,
                       gw_duration_text(settings->forward.stall_slow_ms).text);
        return WEIR_EINVAL;
    }
    return 0;
}

void gw_settings_print_help(FILE *out)
{
    fputs(
        "Settings of the route and of its upstream: --set KEY=VALUE, as often as needed; the last\n"
        "of a key counts. Shown with their defaults.\n"
        "  Durations have units: 500ms, 4s, 1m30s, 2h. Sizes too: 512B, 64KiB, 1MiB, 2GiB; a number\n"
        "  alone is bytes.\n",
        out);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        const struct setting *setting = &table[i];

        fprintf(out, "\n  %s=%s\n      %s\n      %s\n", setting->key, setting->by_default,
                setting->doc,
                has_range(setting->type) ? range_of(setting).text : form_of(setting).text);
    }
}

size_t gw_settings_count(void)
{
    return TABLE_SIZE;
}

const char *gw_settings_key(size_t i)
{
    return i < TABLE_SIZE ? table[i].key : NULL;
}

/* SPDX-License-Identifier: MIT */
/* The command line of `weir proxy`. Looks nothing up and opens nothing: it only says whether the text is right. */
#include "options.h"

#include <weir/err.h>

#include "nearest.h"

#include <arpa/inet.h>

#define THREADS_MAX 1024

enum option {
    OPTION_LISTEN,
    OPTION_TO,
    OPTION_THREADS,
    OPTION_KEYS,
    OPTION_SET,
    OPTION_HELP,
    OPTION_HELP_SETTINGS,
    OPTION_COUNT,
};

struct option_row {
    const char *name;
    const char *value; /* what it takes, for the help; NULL: nothing */
    const char *doc;
};

static const struct option_row rows[OPTION_COUNT] = {
    [OPTION_LISTEN] = {"--listen", "HOST:PORT", "where clients connect; [IPV6]:PORT and :PORT too"},
    [OPTION_TO] = {"--to", "http://HOST:PORT", "the upstream"},
    [OPTION_THREADS] = {"--threads", "N", "threads, one loop each; default: one per processor"},
    [OPTION_KEYS] = {"--keys", "FILE", "who may pass; without it everybody"},
    [OPTION_SET] = {"--set", "KEY=VALUE", "a setting; may be repeated"},
    [OPTION_HELP] = {"--help", NULL, "this text"},
    [OPTION_HELP_SETTINGS] = {"--help-settings", NULL, "every setting with its default"},
};

static bool is_alnum(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
}

/* Copies into a field of at least len + 1 bytes. */
static void copy_text(char *field, struct weir_view text)
{
    if (text.len > 0) {
        memcpy(field, text.data, text.len);
    }
    field[text.len] = '\0';
}

/* An IPv4 literal, or a name as RFC 1123 2.1 has it, underscores allowed. */
static bool is_name(struct weir_view host)
{
    char text[256];
    size_t label = 0;
    bool is_number = false;
    struct in_addr ignored;

    if (host.len == 0 || host.len > 253) {
        return false;
    }
    for (size_t i = 0; i < host.len; i++) {
        uint8_t byte = host.data[i];
        bool at_edge = label == 0 || i + 1 == host.len || host.data[i + 1] == '.';

        if (byte == '.') {
            /* The root's dot may end a name. */
            if (label == 0) {
                return false;
            }
            label = 0;
            continue;
        }
        if (!is_alnum(byte) && byte != '_' && (byte != '-' || at_edge)) {
            return false;
        }
        is_number = (label == 0 || is_number) && byte >= '0' && byte <= '9';
        if (++label > 63) {
            return false;
        }
    }
    /* No top-level domain is a number: what ends in one must be an address in full, not 127.1 or 999.1.1.1. */
    copy_text(text, host);
    return !is_number || inet_pton(AF_INET, text, &ignored) == 1;
}

/* Splits HOST:PORT. `fallback_port` is for a missing one, -1: there must be one. */
static int parse_address(const char *option, struct weir_view text, int fallback_port,
                         struct gw_address *ret, struct gw_problem *problem)
{
    struct gw_address address = {"", 0, false};
    struct weir_view host = text;
    struct weir_view port = {NULL, 0};
    uint64_t number = 0;
    const uint8_t *cut;

    if (text.len > 0 && text.data[0] == '[') {
        struct in6_addr ignored;

        cut = memchr(text.data, ']', text.len);
        if (cut == NULL) {
            gw_problem_set(problem, "%s: %s has no closing bracket", option, gw_quote(text).text);
            return WEIR_EINVAL;
        }
        host = weir_bytes(text.data + 1, (size_t)(cut - text.data) - 1);
        port = weir_bytes(cut + 1, text.len - host.len - 2);
        if (host.len < sizeof(address.host)) {
            copy_text(address.host, host);
        }
        /* A copy cut by a NUL byte would pass as what stands before it. */
        if (strlen(address.host) != host.len || inet_pton(AF_INET6, address.host, &ignored) != 1) {
            gw_problem_set(problem, "%s: %s is not an IPv6 address", option, gw_quote(host).text);
            return WEIR_EINVAL;
        }
        address.is_ipv6 = true;
        if (port.len > 0 && port.data[0] != ':') {
            gw_problem_set(problem, "%s: %s: only :PORT may follow the bracket", option,
                           gw_quote(text).text);
            return WEIR_EINVAL;
        }
    } else {
        cut = text.len > 0 ? memchr(text.data, ':', text.len) : NULL;
        if (cut != NULL) {
            host = weir_bytes(text.data, (size_t)(cut - text.data));
            port = weir_bytes(cut, text.len - host.len);
            if (memchr(cut + 1, ':', port.len - 1) != NULL) {
                gw_problem_set(problem,
                               "%s: %s: write an IPv6 address in brackets, as in [::1]:8080",
                               option, gw_quote(text).text);
                return WEIR_EINVAL;
            }
        }
        if (host.len == 0 && (fallback_port >= 0 || port.len == 0)) {
            gw_problem_set(problem, "%s: %s has no host", option, gw_quote(text).text);
            return WEIR_EINVAL;
        }
        /* "8080" is no name either, but what it lacks is the port. */
        if (host.len > 0 && (port.len > 0 || fallback_port >= 0) && !is_name(host)) {
            gw_problem_set(problem, "%s: %s is neither a host name nor an address", option,
                           gw_quote(host).text);
            return WEIR_EINVAL;
        }
    }
    if (port.len == 0) {
        if (fallback_port < 0) {
            gw_problem_set(problem, "%s: %s has no port; expected HOST:PORT, [IPV6]:PORT or :PORT",
                           option, gw_quote(text).text);
            return WEIR_EINVAL;
        }
        number = (uint64_t)fallback_port;
    } else {
        bool may_be_zero = fallback_port < 0;

        port = weir_bytes(port.data + 1, port.len - 1);
        if (weir_view_to_u64(port, &number) < 0 || number > 65535 ||
            (number == 0 && !may_be_zero)) {
            gw_problem_set(problem, "%s: %s is not a port; it must be a number from %d to 65535",
                           option, gw_quote(port).text, may_be_zero ? 0 : 1);
            return WEIR_EINVAL;
        }
    }
    if (!address.is_ipv6) {
        copy_text(address.host, host);
    }
    address.port = (uint16_t)number;
    *ret = address;
    return 0;
}

static int parse_listen(struct weir_view text, struct gw_address *ret, struct gw_problem *problem)
{
    return parse_address("--listen", text, -1, ret, problem);
}

static int parse_to(struct weir_view text, struct gw_address *ret, struct gw_problem *problem)
{
    static const struct {
        char mark;
        const char *name;
    } refused[] = {
        {'#', "a fragment"}, {'?', "a query"}, {'/', "a path"}, {'@', "a user name or password"}};
    struct weir_view scheme = {text.data, 0};
    struct weir_view rest;

    while (scheme.len < text.len && text.data[scheme.len] != ':') {
        scheme.len++;
    }
    if (text.len < scheme.len + 3 || memcmp(text.data + scheme.len, "://", 3) != 0) {
        gw_problem_set(problem, "--to: %s is not of the form http://HOST:PORT",
                       gw_quote(text).text);
        return WEIR_EINVAL;
    }
    if (weir_view_equal_nocase(scheme, weir_str("https"))) {
        gw_problem_set(problem,
                       "--to: https is not supported in this version; only http://HOST:PORT");
        return WEIR_EINVAL;
    }
    if (!weir_view_equal_nocase(scheme, weir_str("http"))) {
        gw_problem_set(problem, "--to: scheme %s is not supported; only http://HOST:PORT",
                       gw_quote(scheme).text);
        return WEIR_EINVAL;
    }
    rest = weir_bytes(text.data + scheme.len + 3, text.len - scheme.len - 3);
    /* "http://host/" is the same place as "http://host" (RFC 9110 4.2.3). */
    if (rest.len > 1 && rest.data[rest.len - 1] == '/' &&
        memchr(rest.data, '/', rest.len) == rest.data + rest.len - 1) {
        rest.len--;
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (rest.len > 0 && memchr(rest.data, refused[i].mark, rest.len) != NULL) {
            /* Not quoted: it may hold a password. */
            gw_problem_set(problem, "--to: the URL must not have %s; only http://HOST:PORT",
                           refused[i].name);
            return WEIR_EINVAL;
        }
    }
    return parse_address("--to", rest, 80, ret, problem);
}

static int parse_threads(struct weir_view text, unsigned *ret, struct gw_problem *problem)
{
    uint64_t number = 0;

    if (weir_view_to_u64(text, &number) < 0 || number < 1 || number > THREADS_MAX) {
        gw_problem_set(problem, "--threads: %s is not a number from 1 to %d", gw_quote(text).text,
                       THREADS_MAX);
        return WEIR_EINVAL;
    }
    *ret = (unsigned)number;
    return 0;
}

static const char *option_at(size_t i, void *arg)
{
    (void)arg;
    /* Without the dashes, which would make any two options look alike. */
    return rows[i].name + 2;
}

static int unknown_option(struct weir_view name, struct gw_problem *problem)
{
    struct weir_view bare = name;
    size_t near;

    while (bare.len > 0 && bare.data[0] == '-') {
        bare.data++;
        bare.len--;
    }
    if (gw_nearest(bare, OPTION_COUNT, option_at, NULL, 1, &near) > 0) {
        gw_problem_set(problem, "unknown option %s; did you mean %s?", gw_quote(name).text,
                       rows[near].name);
    } else {
        gw_problem_set(problem, "unknown option %s; --help lists them", gw_quote(name).text);
    }
    return WEIR_EINVAL;
}

/* Finds the option that an argument names, and the value after its "=", absent if there is none. */
static int find_option(const char *argument, enum option *ret, struct weir_view *ret_value,
                       struct gw_problem *problem)
{
    struct weir_view name = weir_str(argument);
    struct weir_view value = {NULL, 0};
    const uint8_t *equals = memchr(name.data, '=', name.len);

    if (name.len < 2 || name.data[0] != '-') {
        gw_problem_set(problem, "unexpected argument %s", gw_quote(name).text);
        return WEIR_EINVAL;
    }
    if (equals != NULL) {
        value = weir_bytes(equals + 1, name.len - (size_t)(equals - name.data) - 1);
        name.len = (size_t)(equals - name.data);
    }
    if (weir_view_equal(name, weir_str("-h"))) {
        name = weir_str(rows[OPTION_HELP].name);
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (weir_view_equal(name, weir_str(rows[i].name))) {
            *ret = (enum option)i;
            *ret_value = value;
            return 0;
        }
    }
    return unknown_option(name, problem);
}

static int apply(struct gw_options *options, enum option option, struct weir_view value,
                 struct gw_problem *problem)
{
    struct gw_problem inner;
    int r;

    switch (option) {
    case OPTION_LISTEN:
        return parse_listen(value, &options->listen, problem);
    case OPTION_TO:
        return parse_to(value, &options->to, problem);
    case OPTION_THREADS:
        return parse_threads(value, &options->threads, problem);
    case OPTION_KEYS:
        if (value.len == 0) {
            gw_problem_set(problem, "--keys: the name of the file is empty");
            return WEIR_EINVAL;
        }
        /* The end of an argument, so its NUL is there. */
        options->keys_path = (const char *)value.data;
        return 0;
    case OPTION_SET:
        r = gw_settings_set(&options->settings, value, &inner);
        if (r < 0) {
            gw_problem_set(problem, "--set: %.600s", inner.text);
        }
        return r;
    case OPTION_HELP:
        return GW_OPTIONS_HELP;
    case OPTION_HELP_SETTINGS:
        return GW_OPTIONS_HELP_SETTINGS;
    case OPTION_COUNT:
        break;
    }
    return WEIR_EINVAL;
}

int gw_options_parse(int argc, char *const *argv, struct gw_options *ret,
                     struct gw_problem *problem)
{
    bool seen[OPTION_COUNT] = {false};

    memset(ret, 0, sizeof(*ret));
    gw_settings_init(&ret->settings);
    for (int i = 0; i < argc; i++) {
        enum option option = OPTION_COUNT;
        struct weir_view value;
        int r = find_option(argv[i], &option, &value, problem);

        if (r < 0) {
            return r;
        }
        if (rows[option].value == NULL && !weir_view_is_absent(value)) {
            gw_problem_set(problem, "%s takes no value", rows[option].name);
            return WEIR_EINVAL;
        }
        if (rows[option].value != NULL && weir_view_is_absent(value)) {
            if (i + 1 == argc) {
                gw_problem_set(problem, "%s needs a value: %s", rows[option].name,
                               rows[option].value);
                return WEIR_EINVAL;
            }
            value = weir_str(argv[++i]);
        }
        if (seen[option] && option != OPTION_SET) {
            gw_problem_set(problem, "%s is given twice", rows[option].name);
            return WEIR_EINVAL;
        }
        seen[option] = true;
        r = apply(ret, option, value, problem);
        if (r != 0) {
            return r < 0 ? WEIR_EINVAL : r;
        }
    }
    if (!seen[OPTION_LISTEN] || !seen[OPTION_TO]) {
        enum option missing = seen[OPTION_LISTEN] ? OPTION_TO : OPTION_LISTEN;

        gw_problem_set(problem, "%s %s is missing", rows[missing].name, rows[missing].value);
        return WEIR_EINVAL;
    }
    return gw_settings_check(&ret->settings, problem);
}

void gw_options_print_help(FILE *out)
{
    fputs("Usage: weir proxy --listen HOST:PORT --to http://HOST:PORT [OPTION ...]\n"
          "\n"
          "Streams requests to one upstream and its answers back.\n"
          "\n",
          out);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        int width = 28 - (int)strlen(rows[i].name);

        fprintf(out, "  %s %-*s %s\n", rows[i].name, width,
                rows[i].value != NULL ? rows[i].value : "", rows[i].doc);
    }
}

struct gw_address_text gw_address_print(const struct gw_address *address)
{
    struct gw_address_text out;

    snprintf(out.text, sizeof(out.text), address->is_ipv6 ? "[%s]:%u" : "%s:%u", address->host,
             (unsigned)address->port);
    return out;
}

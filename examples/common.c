/* SPDX-License-Identifier: MIT */
/*
 * The start of every example: reads the command line, listens, says where (the first line on stdout, for scripts that
 * asked for port 0), and serves until SIGTERM.
 */
#include "common.h"

#include <stdio.h>

struct settings {
    char host[64];
    uint16_t port;
    unsigned threads;
};

int example_address(struct weir_view text, char *host, size_t host_bytes, uint16_t *ret_port)
{
    size_t colon = text.len;
    uint64_t port = 0;
    struct weir_view name;

    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0 ||
        weir_view_to_u64(weir_bytes(text.data + colon, text.len - colon), &port) < 0 ||
        port > UINT16_MAX) {
        return WEIR_EINVAL;
    }
    name = weir_bytes(text.data, colon - 1);
    if (name.len >= 2 && name.data[0] == '[' && name.data[name.len - 1] == ']') {
        name = weir_bytes(name.data + 1, name.len - 2);
    }
    if (name.len >= host_bytes) {
        return WEIR_EINVAL;
    }
    memcpy(host, name.data, name.len);
    host[name.len] = '\0';
    *ret_port = (uint16_t)port;
    return 0;
}

int example_number(struct weir_view value, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t number;

    if (weir_view_to_u64(value, &number) < 0 || number < min || number > max) {
        return WEIR_EINVAL;
    }
    *ret = number;
    return 0;
}

int example_not_allowed(struct weir_req *req, const char *methods)
{
    struct weir_fields *fields = NULL;
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Allow"), weir_str(methods));
    }
    if (r == 0) {
        r = weir_reply_bytes(req, 405, fields, "text/plain", weir_str("method not allowed\n"));
    }
    weir_fields_destroy(fields);
    return r;
}

static void usage(FILE *out, const struct example *example)
{
    const struct example_option *option = example->options;

    fprintf(out,
            "%s: %s\n\n"
            "  --listen ADDR:PORT      where to listen [127.0.0.1:8000]; port 0: any free one\n"
            "  --threads N             threads with a loop each [one per processor]\n",
            example->name, example->about);
    for (; option != NULL && option->name != NULL; option++) {
        fprintf(out, "  %s %s\n", option->name, option->help);
    }
    fprintf(out, "  --help                  this text\n");
}

static int take_option(const struct example *example, const char *name, struct weir_view value,
                       struct settings *settings)
{
    const struct example_option *option = example->options;
    uint64_t number = 0;

    if (strcmp(name, "--listen") == 0) {
        return example_address(value, settings->host, sizeof(settings->host), &settings->port);
    }
    if (strcmp(name, "--threads") == 0) {
        if (weir_view_to_u64(value, &number) < 0 || number > 1024) {
            return WEIR_EINVAL;
        }
        settings->threads = (unsigned)number;
        return 0;
    }
    for (; option != NULL && option->name != NULL; option++) {
        if (strcmp(name, option->name) == 0) {
            return option->take(example->arg, value);
        }
    }
    return WEIR_ENOTFOUND;
}

static int serve(const struct example *example, const struct settings *settings)
{
    struct weir_server_opts opts = {
        .handler = example->handler,
        .arg = example->arg,
        .threads = settings->threads,
        .grace_ms = 500, /* endless streams are cut when the program is told to end */
    };
    struct weir_server *server = NULL;
    struct weir_error error = {0};
    int r = weir_server_create(&opts, &server);

    if (r == 0) {
        r = weir_server_listen(server, settings->host, settings->port, &error);
    }
    if (r < 0) {
        fprintf(stderr, "%s: cannot listen on %s:%u: %s%s%s\n", example->name, settings->host,
                (unsigned)settings->port, weir_strerror(r), error.native != 0 ? ": " : "",
                error.native != 0 ? strerror(error.native) : "");
        weir_server_destroy(server);
        return r;
    }
    weir_server_stop_on_signals(server);
    printf(strchr(settings->host, ':') != NULL ? "listening on [%s]:%u\n" : "listening on %s:%u\n",
           settings->host, (unsigned)weir_server_port(server));
    fflush(stdout);
    r = example->start != NULL ? example->start(example->arg) : 0;
    if (r == 0) {
        r = weir_server_run(server);
        if (example->stop != NULL) {
            example->stop(example->arg);
        }
    }
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", example->name, weir_strerror(r));
    }
    weir_server_destroy(server);
    return r;
}

int example_main(int argc, char **argv, const struct example *example)
{
    struct settings settings = {.host = "127.0.0.1", .port = 8000};

    for (int i = 1; i < argc; i += 2) {
        int r = WEIR_EINVAL;

        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout, example);
            return 0;
        }
        if (i + 1 < argc) {
            r = take_option(example, argv[i], weir_str(argv[i + 1]), &settings);
        }
        if (r < 0) {
            if (r == WEIR_ENOTFOUND || i + 1 >= argc) {
                fprintf(stderr, "%s: %s: no such option, or its value is missing\n\n",
                        example->name, argv[i]);
            } else {
                fprintf(stderr, "%s: %s: '%s' is refused\n\n", example->name, argv[i], argv[i + 1]);
            }
            usage(stderr, example);
            return 2;
        }
    }
    return serve(example, &settings) < 0 ? 1 : 0;
}

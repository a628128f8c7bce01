/* SPDX-License-Identifier: MIT */
/* `weir proxy`: from the command line to a running server and back. */
#include "gateway.h"

#include <weir/experimental/observe.h>
#include <weir/server.h>

#include "alloc.h"
#include "journal.h"

#include <stdio.h>
#include <sys/resource.h>

/*
 * 0 in a setting means "no limit" or "at once"; in the library's options it means "the default". So the least there is
 * goes for "at once": with forward.fast_after, one byte that has gone out.
 */
static int64_t ms_or_none(int64_t ms)
{
    return ms == 0 ? -1 : ms;
}

static size_t count_or_all(uint64_t count)
{
    return count == 0 || count > SIZE_MAX / 2 ? SIZE_MAX / 2 : (size_t)count;
}

static struct weir_server_opts server_opts(struct gw_gateway *gateway)
{
    const struct gw_settings *settings = &gateway->options.settings;

    return (struct weir_server_opts){
        .handler = gw_proxy,
        .arg = gateway,
        .threads = gateway->options.threads,
        .head_timeout_ms = settings->client.timeouts.head_ms,
        .keepalive_timeout_ms =
            settings->client.timeouts.keepalive_ms > 0 ? settings->client.timeouts.keepalive_ms : 1,
        .body_gap_ms = ms_or_none(settings->client.timeouts.body_gap_ms),
        .client_stall_ms = ms_or_none(settings->client.timeouts.stall_ms),
        .min_rate = settings->client.min_rate > 0 ? settings->client.min_rate : UINT64_MAX,
        .drain_ms = settings->drain.time_ms > 0 ? settings->drain.time_ms : 1,
        .drain_bytes = settings->drain.bytes > 0 ? settings->drain.bytes : 1,
        .grace_ms = settings->shutdown.grace_ms > 0 ? settings->shutdown.grace_ms : 1,
        .head_bytes = settings->limits.head_bytes,
        .target_bytes = settings->limits.target_bytes,
        .max_fields = settings->limits.fields,
        .body_bytes = settings->limits.body_bytes,
        .max_connections = count_or_all(settings->limits.connections),
        .max_streams = count_or_all(settings->limits.streams),
        .memory_bytes = settings->limits.memory,
        .allow_half_close = settings->half_close == GW_HALF_CLOSE_ALLOW,
        .pace_slow_bytes = (uint32_t)settings->forward.slow_bytes,
        .pace_fast_bytes = (uint32_t)settings->forward.fast_bytes,
        .pace_fast_chunk = (uint32_t)settings->forward.fast_chunk,
        .pace_fast_after =
            settings->forward.fast_after > 0 ? (uint32_t)settings->forward.fast_after : 1,
        .pace_stall_reset_ms = (uint32_t)settings->forward.stall_reset_ms,
        .pace_stall_slow_ms = (uint32_t)settings->forward.stall_slow_ms,
    };
}

static struct weir_client_opts client_opts(const struct gw_settings *settings)
{
    return (struct weir_client_opts){
        .dial_timeout_ms = settings->upstream.timeouts.dial_ms,
        .head_timeout_ms = ms_or_none(settings->upstream.timeouts.response_head_ms),
        .first_byte_ms = ms_or_none(settings->upstream.timeouts.first_byte_ms),
        .idle_timeout_ms = ms_or_none(settings->upstream.timeouts.idle_ms),
        .max_connections = settings->upstream.max_connections,
        .max_idle = settings->upstream.keepalive > 0 ? settings->upstream.keepalive : WEIR_NO_IDLE,
        .head_bytes = settings->limits.upstream_head_bytes,
        .pace_slow_bytes = (uint32_t)settings->forward.slow_bytes,
        .pace_fast_bytes = (uint32_t)settings->forward.fast_bytes,
        .pace_fast_chunk = (uint32_t)settings->forward.fast_chunk,
        .pace_fast_after =
            settings->forward.fast_after > 0 ? (uint32_t)settings->forward.fast_after : 1,
        .pace_stall_reset_ms = (uint32_t)settings->forward.stall_reset_ms,
        .pace_stall_slow_ms = (uint32_t)settings->forward.stall_slow_ms,
    };
}

/* Each stream takes two descriptors: as many as the system lets us have. */
static void raise_descriptors(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        WEIR_IGNORE(setrlimit(RLIMIT_NOFILE, &files));
    }
}

static int complain(const char *what)
{
    fprintf(stderr, "weir: %s\n", what);
    return 1;
}

static int serve(struct gw_gateway *gateway, struct weir_server *server)
{
    struct gw_address bound = gateway->options.listen;
    struct weir_error error = {0};
    int r = weir_server_listen(server, bound.host, bound.port, &error);

    if (r < 0) {
        char text[400];
        struct gw_address_text at = gw_address_print(&bound);

        snprintf(text, sizeof(text), "cannot listen on %s: %s", at.text, weir_strerror(r));
        return complain(text);
    }
    bound.port = weir_server_port(server);
    printf("listening on %s\n", gw_address_print(&bound).text);
    fflush(stdout);
    weir_server_on_reject(server, gw_journal_reject, gateway);
    weir_server_stop_on_signals(server);
    r = weir_server_run(server);
    return r < 0 ? complain(weir_strerror(r)) : 0;
}

static int run(struct gw_gateway *gateway)
{
    struct weir_server_opts opts = server_opts(gateway);
    struct weir_client_opts client = client_opts(&gateway->options.settings);
    struct weir_server *server = NULL;
    int r = weir_client_create(&client, &gateway->client);

    if (r == 0) {
        r = weir_server_create(&opts, &server);
    }
    r = r < 0 ? complain(weir_strerror(r)) : serve(gateway, server);
    weir_server_destroy(server);
    weir_client_destroy(gateway->client);
    return r;
}

/* What the arguments ask for, but running. Returns -1 to run, or an exit status. */
static int prepare(struct gw_gateway *gateway, int argc, char *const *argv)
{
    struct gw_problem problem = {""};
    int r = gw_options_parse(argc, argv, &gateway->options, &problem);

    if (r == GW_OPTIONS_HELP) {
        gw_options_print_help(stdout);
        return 0;
    }
    if (r == GW_OPTIONS_HELP_SETTINGS) {
        gw_settings_print_help(stdout);
        return 0;
    }
    if (r == 0 && gateway->options.keys_path != NULL) {
        r = gw_keys_load(gateway->options.keys_path, &gateway->keys, &problem);
    }
    if (r < 0) {
        complain(problem.text);
        return 2;
    }
    gateway->upstream = gw_address_print(&gateway->options.to);
    if (gw_access_log_init(&gateway->log, gateway->options.settings.access_log, &problem) < 0) {
        return complain(problem.text);
    }
    return -1;
}

int gw_main(int argc, char *const *argv)
{
    struct gw_gateway *gateway = gw_alloc0(sizeof(*gateway));
    int status;

    if (gateway == NULL) {
        return complain(weir_strerror(WEIR_ENOMEM));
    }
    status = prepare(gateway, argc, argv);
    if (status < 0) {
        raise_descriptors();
        status = run(gateway);
    }
    gw_access_log_finish(&gateway->log);
    gw_keys_destroy(gateway->keys);
    gw_free(gateway);
    return status;
}

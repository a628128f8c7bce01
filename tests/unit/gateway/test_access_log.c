/* SPDX-License-Identifier: MIT */
/* Records as exact lines, and where the lines go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access_log.h"

static char line[GW_LINE_BYTES + 1];

static const char *line_of(const struct gw_record *record)
{
    size_t len = gw_record_format(record, line, GW_LINE_BYTES);

    line[len] = '\0';
    return line;
}

static struct gw_record full_record(void)
{
    return (struct gw_record){
        .time_us = INT64_C(1709210096789123),
        .kind = GW_RECORD_END,
        .id = weir_str("4f1-2"),
        .route = weir_str("default"),
        .method = weir_str("GET"),
        .path = weir_str("/v1/reports/7"),
        .peer = weir_str("[::1]:40000"),
        .key = weir_str("reports"),
        .upstream = weir_str("127.0.0.1:9000"),
        .status = 200,
        .outcome = GW_OUTCOME_UPSTREAM_ABORT,
        .end_by = GW_END_BY_UPSTREAM,
        .cause = WEIR_ERESET,
        .reason = WEIR_REASON_RESET,
        .proxy_error = "http_response_incomplete",
        .bytes = {1, 22, 333, UINT64_MAX},
        .phase = {0, 999, 1000, 1001, 60000000, GW_NOT_REACHED},
        .down = {1, 2, 3, 4, 5, 6, 7, 8},
        .up = {1000, 2000, 3000, 4000, 5000, 6000, INT64_MAX, 0},
    };
}

static void a_record_is_one_line(void **state)
{
    struct gw_record record = full_record();

    (void)state;
    assert_string_equal(
        line_of(&record),
        "{\"time\":\"2024-02-29T12:34:56.789Z\",\"kind\":\"end\",\"id\":\"4f1-2\",\"route\":\"default\","
        "\"method\":\"GET\",\"path\":\"/v1/reports/7\",\"peer\":\"[::1]:40000\",\"key\":\"reports\","
        "\"upstream\":\"127.0.0.1:9000\",\"status\":200,\"outcome\":\"upstream_abort\",\"end_by\":\"upstream\","
        "\"cause\":\"WEIR_ERESET\",\"reason\":\"reset\",\"proxy_error\":\"http_response_incomplete\","
        "\"bytes\":{\"client_rx\":1,\"client_tx\":22,\"upstream_rx\":333,\"upstream_tx\":18446744073709551615},"
        "\"phase_ms\":{\"auth\":0.000,\"dial\":0.999,\"response_head\":1.000,\"first_byte\":1.001,"
        "\"body\":60000.000,\"total\":null},"
        "\"stall_ms\":{\"down\":{\"moving\":0.001,\"wait_upstream\":0.002,\"stream_window\":0.003,"
        "\"conn_window\":0.004,\"socket\":0.005,\"shaped\":0.006,\"gateway\":0.007,\"idle\":0.008},"
        "\"up\":{\"moving\":1.000,\"wait_upstream\":2.000,\"stream_window\":3.000,"
        "\"conn_window\":4.000,\"socket\":5.000,\"shaped\":6.000,\"gateway\":9223372036854775.807,\"idle\":0.000}}}\n");
}

static void nothing_known_is_null(void **state)
{
    struct gw_record record = {.kind = GW_RECORD_PROGRESS};

    (void)state;
    assert_string_equal(
        line_of(&record),
        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"kind\":\"progress\",\"id\":null,\"route\":null,"
        "\"method\":null,\"path\":null,\"peer\":null,\"key\":null,\"upstream\":null,\"status\":null,"
        "\"outcome\":null,\"end_by\":null,\"cause\":null,\"reason\":null,\"proxy_error\":null,"
        "\"bytes\":{\"client_rx\":0,\"client_tx\":0,\"upstream_rx\":0,\"upstream_tx\":0},"
        "\"phase_ms\":{\"auth\":0.000,\"dial\":0.000,\"response_head\":0.000,\"first_byte\":0.000,"
        "\"body\":0.000,\"total\":0.000},"
        "\"stall_ms\":{\"down\":{\"moving\":0.000,\"wait_upstream\":0.000,\"stream_window\":0.000,"
        "\"conn_window\":0.000,\"socket\":0.000,\"shaped\":0.000,\"gateway\":0.000,\"idle\":0.000},"
        "\"up\":{\"moving\":0.000,\"wait_upstream\":0.000,\"stream_window\":0.000,"
        "\"conn_window\":0.000,\"socket\":0.000,\"shaped\":0.000,\"gateway\":0.000,\"idle\":0.000}}}\n");
}

static void assert_path(struct weir_view path, const char *json)
{
    struct gw_record record = {.path = path};
    static char expected[2000];

    snprintf(expected, sizeof(expected), "\"method\":null,\"path\":%s,\"peer\":", json);
    assert_non_null(strstr(line_of(&record), expected));
}

static void texts_are_escaped(void **state)
{
    static char raw[400];
    static char json[2000];

    (void)state;
    assert_path(weir_str(""), "\"\"");
    assert_path(weir_str("\"\\/<>&'"), "\"\\\"\\\\/<>&'\"");
    assert_path(weir_bytes("\0\x01\b\t\n\v\f\r\x1f\x7f", 10),
                "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\\u007f\"");
    assert_path(weir_str("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf"),
                "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\"");
    assert_path(weir_str("\xc2\x80\xc2\x9b\xc2\xa0"), "\"\\u0080\\u009b\xc2\xa0\"");
#define BAD "\xef\xbf\xbd"
    assert_path(weir_str("\x80"), "\"" BAD "\"");
    assert_path(weir_str("a\xff"
                         "b"),
                "\"a" BAD "b\"");
    assert_path(weir_str("\xc0\xaf"), "\"" BAD BAD "\"");
    assert_path(weir_str("\xc3"), "\"" BAD "\"");
    assert_path(weir_str("\xe2\x82"), "\"" BAD BAD "\"");
    assert_path(weir_str("\xe2\x82z"), "\"" BAD BAD "z\"");
    assert_path(weir_str("\xe0\x9f\xbf"), "\"" BAD BAD BAD "\"");
    assert_path(weir_str("\xed\xa0\x80"), "\"" BAD BAD BAD "\"");
    assert_path(weir_str("\xf0\x8f\xbf\xbf"), "\"" BAD BAD BAD BAD "\"");
    assert_path(weir_str("\xf4\x90\x80\x80"), "\"" BAD BAD BAD BAD "\"");
    assert_path(weir_str("\xf5\x80"), "\"" BAD BAD "\"");
    /* Cut at 256 bytes, never inside a character. */
    memset(raw, 'a', sizeof(raw));
    snprintf(json, sizeof(json), "\"%.256s\"", raw);
    assert_path(weir_bytes(raw, sizeof(raw)), json);
    memcpy(raw + 254, "\xe2\x82\xac", 3);
    snprintf(json, sizeof(json), "\"%.254s\"", raw);
    assert_path(weir_bytes(raw, sizeof(raw)), json);
}

static void times_are_right(void **state)
{
    static const struct {
        int64_t s;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},          {68169599, "1972-02-28T23:59:59.000Z"},
        {68169600, "1972-02-29T00:00:00.000Z"},   {68256000, "1972-03-01T00:00:00.000Z"},
        {951782400, "2000-02-29T00:00:00.000Z"},  {978307199, "2000-12-31T23:59:59.000Z"},
        {1767225600, "2026-01-01T00:00:00.000Z"}, {4107542400, "2100-03-01T00:00:00.000Z"},
        {4107542399, "2100-02-28T23:59:59.000Z"}, {253402300799, "9999-12-31T23:59:59.000Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
    };
    struct gw_record record = {.time_us = INT64_MAX};

    (void)state;
    assert_non_null(strstr(line_of(&record), "{\"time\":\"9999-12-31T23:59:59.999Z\""));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[64];

        record.time_us = cases[i].s * 1000000;
        snprintf(expected, sizeof(expected), "{\"time\":\"%s\"", cases[i].text);
        assert_non_null(strstr(line_of(&record), expected));
    }
}

/* The longest line fits, and a smaller buffer gives no line rather than a part of one. */
static void every_line_fits(void **state)
{
    static char worst[1000];
    struct gw_record record = full_record();
    struct gw_stall longest = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
                               INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    size_t len;
    char *exact;

    (void)state;
    memset(worst, 1, sizeof(worst));
    record.id = record.route = record.method = record.path = record.peer = record.key =
        record.upstream = weir_bytes(worst, sizeof(worst));
    record.proxy_error = worst;
    worst[sizeof(worst) - 1] = '\0';
    record.status = INT32_MAX;
    record.down = record.up = longest;
    record.bytes.client_rx = record.bytes.client_tx = record.bytes.upstream_rx = UINT64_MAX;
    record.phase.auth_us = record.phase.dial_us = record.phase.response_head_us =
        record.phase.first_byte_us = record.phase.body_us = record.phase.total_us = INT64_MAX;
    len = gw_record_format(&record, line, GW_LINE_BYTES);
    assert_true(len > 3000);
    assert_int_equal(line[len - 1], '\n');
    for (size_t size = 0; size <= len; size++) {
        exact = malloc(size + (size == 0));
        assert_non_null(exact);
        assert_int_equal(gw_record_format(&record, exact, size), size == len ? len : 0);
        free(exact);
    }
}

static void names_are_stable(void **state)
{
    (void)state;
    assert_null(gw_outcome_name(GW_OUTCOME_NONE));
    assert_string_equal(gw_outcome_name(GW_OUTCOME_COMPLETE), "complete");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_UPSTREAM_TIMEOUT), "upstream_timeout");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_CLIENT_GONE), "client_gone");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_CLIENT_STALLED), "client_stalled");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_LIMIT), "limit");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_PROTOCOL_ERROR), "protocol_error");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_DENIED), "denied");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_REFUSED), "refused");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_SHUTDOWN), "shutdown");
    assert_string_equal(gw_outcome_name(GW_OUTCOME_INTERNAL_ERROR), "internal_error");
    assert_string_equal(gw_outcome_name((enum gw_outcome)99), "?");
    assert_null(gw_end_by_name(GW_END_BY_NONE));
    assert_string_equal(gw_end_by_name(GW_END_BY_CLIENT), "client");
    assert_string_equal(gw_end_by_name(GW_END_BY_WEIR), "weir");
}

static void a_file_is_appended_to(void **state)
{
    char path[] = "/tmp/weir-log-XXXXXX";
    struct gw_access_log log;
    char text[100];
    struct stat info;

    (void)state;
    close(mkstemp(path));
    unlink(path);
    assert_int_equal(gw_access_log_init(&log, path, NULL), 0);
    assert_true(gw_access_log_is_on(&log));
    assert_true(gw_access_log_write(&log, "one\n", 4));
    gw_access_log_finish(&log);
    assert_false(gw_access_log_is_on(&log));
    assert_int_equal(gw_access_log_init(&log, path, NULL), 0);
    assert_true(gw_access_log_write(&log, "two\n", 4));
    assert_false(gw_access_log_write(&log, "", 0));
    assert_int_equal(log.written, 1);
    assert_int_equal(log.dropped, 1);
    gw_access_log_finish(&log);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof(text)), 8);
    assert_memory_equal(text, "one\ntwo\n", 8);
    assert_int_equal(fstat(fd, &info), 0);
    assert_int_equal(info.st_mode & 07137, 0);
    close(fd);
    unlink(path);
}

static void off_is_off(void **state)
{
    struct gw_access_log log;
    struct gw_problem problem;

    (void)state;
    assert_int_equal(gw_access_log_init(&log, "off", &problem), 0);
    assert_false(gw_access_log_is_on(&log));
    assert_false(gw_access_log_write(&log, "x\n", 2));
    assert_int_equal(log.dropped, 0);
    gw_access_log_finish(&log);
    assert_int_equal(gw_access_log_init(&log, "/nowhere/at/all", &problem), WEIR_EIO);
    assert_string_equal(problem.text,
                        "access_log: cannot open \"/nowhere/at/all\": No such file or directory");
}

/* A reader that stops costs records, never time; the descriptor's own flags stay as they were. */
static void fill(int write_fd, int read_fd, bool flags_are_ours)
{
    struct gw_access_log log;
    char text[512];
    size_t sent = 0;
    size_t got = 0;
    ssize_t n;

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\n';
    assert_int_equal(gw_access_log_init_fd(&log, write_fd, "test", NULL), 0);
    while (sent < 1000000 && gw_access_log_write(&log, text, sizeof(text))) {
        sent++;
    }
    assert_true(sent > 0 && sent < 1000000);
    assert_int_equal(log.written, sent);
    assert_int_equal(log.dropped, 1);
    assert_false(gw_access_log_write(&log, text, sizeof(text)));
    assert_int_equal(log.dropped, 2);
    if (!flags_are_ours) {
        assert_int_equal(fcntl(write_fd, F_GETFL) & O_NONBLOCK, 0);
    }
    fcntl(read_fd, F_SETFL, O_NONBLOCK);
    while ((n = read(read_fd, line, GW_LINE_BYTES)) > 0) {
        got += (size_t)n;
    }
    assert_int_equal(got, sent * sizeof(text));
    assert_true(gw_access_log_write(&log, text, sizeof(text)));
    assert_int_equal(log.written, sent + 1);
    gw_access_log_finish(&log);
}

static void full_pipes_and_sockets_drop(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    fill(fds[1], fds[0], false);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    fill(fds[1], fds[0], false);
    close(fds[0]);
    close(fds[1]);
}

static void a_polled_pipe_drops_too(void **state)
{
    struct gw_access_log log = {0};
    static char text[4096];
    size_t sent = 0;
    int fds[2];

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(pipe(fds), 0);
    log.fd = fds[1];
    log.how = GW_LOG_POLLED;
    while (sent < 100000 && gw_access_log_write(&log, text, sizeof(text))) {
        sent++;
    }
    assert_true(sent > 0 && sent < 100000);
    assert_int_equal(log.dropped, 1);
    close(fds[0]);
    /* Nobody reads any more. */
    assert_false(gw_access_log_write(&log, text, sizeof(text)));
    gw_access_log_finish(&log);
}

/* A file at its size limit takes a part of a line: the next one does not continue it. */
static void a_torn_line_ends(void **state)
{
    char path[] = "/tmp/weir-log-XXXXXX";
    struct rlimit old;
    struct rlimit limit;
    struct gw_access_log log;
    char text[100] = "";
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 6;
    assert_int_equal(gw_access_log_init_fd(&log, fd, "test", NULL), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_true(gw_access_log_write(&log, "one\n", 4));
    assert_false(gw_access_log_write(&log, "two\n", 4));
    assert_false(gw_access_log_write(&log, "three\n", 6));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(gw_access_log_write(&log, "four\n", 5));
    assert_true(gw_access_log_write(&log, "five\n", 5));
    assert_int_equal(log.dropped, 2);
    gw_access_log_finish(&log);
    assert_int_equal(pread(fd, text, sizeof(text) - 1, 0), 17);
    assert_string_equal(text, "one\ntw\nfour\nfive\n");
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_one_line),
        cmocka_unit_test(nothing_known_is_null),
        cmocka_unit_test(texts_are_escaped),
        cmocka_unit_test(times_are_right),
        cmocka_unit_test(every_line_fits),
        cmocka_unit_test(names_are_stable),
        cmocka_unit_test(a_file_is_appended_to),
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(full_pipes_and_sockets_drop),
        cmocka_unit_test(a_polled_pipe_drops_too),
        cmocka_unit_test(a_torn_line_ends),
    };

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Sends ten rows, one a second, at most as fast as the client reads. */
#include <weir/server.h>

#include <stdio.h>

static int rows(struct weir_req *req, void *arg)
{
    struct weir_sink *out = NULL;
    char row[32];
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    for (int i = 1; r == 0 && i <= 10; i++) {
        snprintf(row, sizeof(row), "row %d\n", i);
        r = weir_emit_bytes(out, weir_str(row), -1); /* waits while the client's window is full */
        if (r == 0) {
            r = weir_sleep(weir_after_ms(1000)); /* WEIR_ECANCELED once the client is gone */
        }
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out); /* without weir_end() before it: an abort, which the client sees */
    return r;
}

int main(void)
{
    struct weir_server *server = NULL;
    int r = weir_server_create(&(struct weir_server_opts){.handler = rows}, &server);

    if (r == 0) {
        r = weir_server_listen(server, "127.0.0.1", 8000, NULL);
    }
    if (r == 0) {
        weir_server_stop_on_signals(server);
        r = weir_server_run(server);
    }
    weir_server_destroy(server);
    if (r < 0) {
        fprintf(stderr, "%s\n", weir_strerror(r));
    }
    return r < 0;
}

/* SPDX-License-Identifier: MIT */
/* A user's program against the installed library: serves for a moment, and tests its handler. */
#include <weir/experimental/observe.h>
#include <weir/test.h>
#include <weir/weir.h>

#include <stdio.h>

static int hello(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 200, "hello\n");
}

int main(void)
{
    struct weir_server *server = NULL;
    struct weir_test *test = NULL;
    struct weir_test_result result = {0};

    if (weir_server_create(&(struct weir_server_opts){.handler = hello, .threads = 1}, &server) !=
            0 ||
        weir_server_listen(server, "127.0.0.1", 0, NULL) != 0 || weir_server_port(server) == 0) {
        return 1;
    }
    weir_server_destroy(server);
    if (weir_test_run(hello, NULL, NULL, &test) != 0) {
        return 1;
    }
    weir_test_result(test, &result);
    if (result.outcome != WEIR_TEST_COMPLETE ||
        !weir_view_equal(weir_test_body(test), weir_str("hello\n"))) {
        return 1;
    }
    weir_test_destroy(test);
    puts("C: fine");
    return 0;
}

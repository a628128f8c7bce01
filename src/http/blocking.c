/* SPDX-License-Identifier: MIT */
/* Blocking handlers: a request's handler as a job of rt/relay, whose calls the request's fiber carries out. */
#include "rt/relay.h"

#include "rt/scope.h"

struct run {
    struct weir_req *req;
    const struct weir_blocking *blocking;
};

static int run_handler(void *arg)
{
    struct run *run = arg;

    return run->blocking->handler(run->req, run->blocking->arg);
}

int weir_blocking(struct weir_req *req, const struct weir_blocking *blocking)
{
    struct run run = {req, blocking};
    int result = 0;
    int r;

    if (weir__relay_here != NULL) {
        return WEIR_ESTATE;
    }
    if (blocking == NULL || blocking->handler == NULL) {
        return WEIR_EINVAL;
    }
    r = weir__relay_run(blocking->pool, blocking->wait_ms, run_handler, &run, &result);
    return r < 0 ? r : result;
}

int weir_blocking_handler(struct weir_req *req, void *arg)
{
    return weir_blocking(req, arg);
}

WEIR__RELAY_2(int, relay_on_loop, weir_blocking_on_loop, weir_fiber_fn *, void *)

int weir_blocking_on_loop(weir_fiber_fn *fn, void *arg)
{
    return weir__relay_here != NULL ? relay_on_loop(fn, arg) : fn(arg);
}

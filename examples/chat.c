/* SPDX-License-Identifier: MIT */
/*
 * A token server as the clients of OpenAI's API want it. The model is a fake that says the question again, but it behaves
 * as a real one: it computes for long, knows nothing of HTTP, and any thread may tell it to stop. It runs on a thread of
 * the blocking pool. A slow client slows it down; one that leaves stops it at once. openai.c has the JSON.
 *
 *     curl -N http://127.0.0.1:8000/v1/chat/completions -d '{"stream": true,
 *         "messages": [{"role": "user", "content": "why is the sky blue"}]}'
 */
#include <weir/weir.h>

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common.h"
#include "openai.h"

#define MODEL "parrot-1"

static uint64_t delay_ms = 80; /* what the model takes for a token */

/* ---- the model; its tokens are words, each with the space before it ---- */

struct model {
    const char *rest; /* what it has not said yet */
    uint64_t tokens;  /* made so far */
    int stop_fd;      /* readable: it is to stop */
};

static size_t token_len(const char *text)
{
    return text[0] == '\0' ? 0 : 1 + strcspn(text + 1, " ");
}

static uint64_t token_count(const char *text)
{
    uint64_t count = 0;

    for (; text[0] != '\0'; text += token_len(text)) {
        count++;
    }
    return count;
}

/* Blocks. Returns 1 with a token, 0 when all is said, WEIR_ECANCELED when told to stop. */
static int model_next(struct model *model, struct weir_view *ret)
{
    struct pollfd stop = {.fd = model->stop_fd, .events = POLLIN};

    if (model->rest[0] == '\0') {
        return 0;
    }
    if (poll(&stop, 1, (int)delay_ms) == 1) {
        return WEIR_ECANCELED;
    }
    *ret = weir_bytes(model->rest, token_len(model->rest));
    model->rest += ret->len;
    model->tokens++;
    return 1;
}

static void model_stop(void *model)
{
    eventfd_write(((struct model *)model)->stop_fd, 1);
}

/* ---- the server ---- */

/* The model's tokens to the client, as they come. */
static int relay(struct weir_req *req, struct openai *chat, struct model *model)
{
    int r = weir_on_disconnect(req, model_stop, model); /* also while the model computes */
    struct weir_view token;

    while (r == 0 && model->tokens < openai_max_tokens(chat) &&
           (r = model_next(model, &token)) == 1) {
        r = openai_token(chat, token); /* a slow client is waited for */
    }
    weir_off_disconnect(req);
    if (r == 0) {
        r = openai_end(chat, model->rest[0] == '\0' ? "stop" : "length",
                       token_count(openai_question(chat)));
    }
    return r;
}

static int complete(struct weir_req *req, void *arg)
{
    struct model model = {0};
    struct openai *chat = NULL;
    int r = openai_begin(req, MODEL, &chat);

    (void)arg;
    if (r != 1) {
        return r; /* refused, or not to be read */
    }
    model.rest = openai_question(chat);
    model.stop_fd = eventfd(0, EFD_CLOEXEC);
    r = model.stop_fd < 0 ? WEIR_EIO : relay(req, chat, &model);
    if (model.stop_fd >= 0) {
        close(model.stop_fd);
    }
    fprintf(stderr, "%s: %" PRIu64 " tokens, %s\n", openai_id(chat), model.tokens,
            r < 0 ? weir_strerror(r) : "complete");
    openai_destroy(chat);
    return r;
}

static int models(struct weir_req *req, void *arg)
{
    (void)arg;
    return openai_models(req, MODEL);
}

static int take_delay(void *arg, struct weir_view value)
{
    (void)arg;
    return weir_view_to_u64(value, &delay_ms) < 0 || delay_ms > 60000 ? WEIR_EINVAL : 0;
}

int main(int argc, char **argv)
{
    static const struct example_option options[] = {
        {"--delay-ms", "N          what the model takes for a token [80]", take_delay}, {0}};
    struct weir_blocking completions = {.handler = complete}; /* 16 at once, 64 more wait */
    struct weir_router *router = NULL;
    int r = weir_router_create(NULL, &router);

    if (r == 0) {
        r = weir_router_add(router, "POST", "/v1/chat/completions", weir_blocking_handler,
                            &completions, NULL);
    }
    if (r == 0) {
        r = weir_router_add(router, "GET", "/v1/models", models, NULL, NULL);
    }
    if (r == 0) {
        r = example_main(argc, argv,
                         &(struct example){.name = "chat",
                                           .about = "chat completions by a fake model",
                                           .handler = weir_router_handle,
                                           .arg = router,
                                           .options = options});
    }
    weir_router_destroy(router);
    return r < 0 ? 1 : r;
}

/* SPDX-License-Identifier: MIT */
#include "openai.h"

#include <weir/body.h>
#include <weir/sse.h>

#include <jansson.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BODY_BYTES ((size_t)1 << 20)
#define BODY_MS 10000

struct openai {
    struct weir_req *req;
    struct weir_sink *out; /* of a stream; NULL: one object */
    FILE *text;            /* of that object */
    char *text_bytes;      /* given by `text` when it is closed */
    size_t text_len;
    json_t *question; /* all of it; borrowed from it: */
    const char *content;
    const char *model;
    char id[40];
    json_int_t created, tokens, max_tokens;
    int is_stream, with_usage;
};

const char *openai_id(struct openai *chat)
{
    return chat->id;
}

const char *openai_question(struct openai *chat)
{
    return chat->content;
}

uint64_t openai_max_tokens(struct openai *chat)
{
    return chat->max_tokens == INT64_MAX ? UINT64_MAX : (uint64_t)chat->max_tokens;
}

/* ---- the answer ---- */

/* An event, or without a stream the whole reply. `json` is given; NULL, json_pack()'s answer when there is no memory, may
 * come. */
static int say(struct weir_req *req, struct weir_sink *out, int status, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    int r = WEIR_ENOMEM;

    json_decref(json);
    if (text != NULL && out != NULL) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_str(text)});
    } else if (text != NULL) {
        r = weir_reply_json(req, status, weir_str(text));
    }
    free(text);
    return r;
}

static int refuse(struct weir_req *req, int status, const char *why)
{
    return say(req, NULL, status,
               json_pack("{s:{s:s, s:s, s:n, s:n}}", "error", "message", why, "type",
                         "invalid_request_error", "param", "code"));
}

/* The completion, or a chunk of it. `choices` and `usage` are given; a usage of NULL is left out. */
static int say_part(struct openai *chat, json_t *choices, json_t *usage)
{
    return say(chat->req, chat->out, 200,
               json_pack("{s:s, s:s, s:I, s:s, s:o, s:o*}", "id", chat->id, "object",
                         chat->is_stream ? "chat.completion.chunk" : "chat.completion", "created",
                         chat->created, "model", chat->model, "choices", choices, "usage", usage));
}

/* `message` is given: all of it, or what has come to it. */
static json_t *choices(struct openai *chat, json_t *message, const char *finish_reason)
{
    return json_pack("[{s:i, s:o, s:s?}]", "index", 0, chat->is_stream ? "delta" : "message",
                     message, "finish_reason", finish_reason);
}

/* A chunk on the way: with include_usage all have the member, but only the last one a value. */
static int say_chunk(struct openai *chat, json_t *delta, const char *finish_reason)
{
    return say_part(chat, choices(chat, delta, finish_reason),
                    chat->with_usage ? json_null() : NULL);
}

int openai_token(struct openai *chat, struct weir_view token)
{
    chat->tokens++;
    if (chat->is_stream) {
        return say_chunk(chat, json_pack("{s:s%}", "content", token.data, token.len), NULL);
    }
    return fwrite(token.data, 1, token.len, chat->text) == token.len ? 0 : WEIR_ENOMEM;
}

static int end_stream_take(struct openai *chat, const char *finish_reason, json_t *usage)
{
    int r = say_chunk(chat, json_object(), finish_reason);

    if (r == 0 && chat->with_usage) {
        r = say_part(chat, json_array(), json_incref(usage));
    }
    json_decref(usage);
    if (r == 0) {
        r = weir_sse_emit(chat->out, &(struct weir_event){.data = weir_str("[DONE]")});
    }
    return r == 0 ? weir_end(chat->out, NULL) : r;
}

static int end_object_take(struct openai *chat, const char *finish_reason, json_t *usage)
{
    int failed = fclose(chat->text);
    json_t *message;

    chat->text = NULL;
    if (failed) {
        json_decref(usage);
        return WEIR_ENOMEM;
    }
    message =
        json_pack("{s:s, s:s%}", "role", "assistant", "content", chat->text_bytes, chat->text_len);
    return say_part(chat, choices(chat, message, finish_reason), usage);
}

int openai_end(struct openai *chat, const char *finish_reason, uint64_t prompt_tokens)
{
    json_t *usage = json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)prompt_tokens,
                              "completion_tokens", chat->tokens, "total_tokens",
                              (json_int_t)prompt_tokens + chat->tokens);

    return chat->is_stream ? end_stream_take(chat, finish_reason, usage)
                           : end_object_take(chat, finish_reason, usage);
}

int openai_models(struct weir_req *req, const char *model)
{
    return say(req, NULL, 200,
               json_pack("{s:s, s:[{s:s, s:s, s:i, s:s}]}", "object", "list", "data", "id", model,
                         "object", "model", "created", 0, "owned_by", "weir"));
}

/* ---- the question ---- */

/* Returns what is wrong with it, or NULL. The text is static or in `error`. */
static const char *understand(struct openai *chat, json_error_t *error)
{
    json_t *messages = NULL, *value;
    const char *key, *role;
    void *next;
    size_t i;

    json_object_foreach_safe(chat->question, next, key, value)
    {
        if (json_is_null(value)) { /* some clients send all they know of, null for the default */
            json_object_del(chat->question, key);
        }
    }
    if (json_unpack_ex(chat->question, error, 0, "{s:o, s?b, s?I, s?I, s?{s?b}}", "messages",
                       &messages, "stream", &chat->is_stream, "max_tokens", &chat->max_tokens,
                       "max_completion_tokens", &chat->max_tokens, "stream_options",
                       "include_usage", &chat->with_usage) < 0) {
        return error->text;
    }
    json_array_foreach(messages, i, value)
    {
        if (json_unpack_ex(value, error, 0, "{s:s, s:s}", "role", &role, "content",
                           &chat->content) < 0) {
            return error->text;
        }
    }
    if (chat->content == NULL) {
        return "messages: a list with at least one message is expected";
    }
    return chat->max_tokens < 1 ? "max_tokens: at least 1 is expected" : NULL;
}

/* Returns as openai_begin(). */
static int read_question(struct openai *chat)
{
    struct weir_chunk *body = NULL;
    json_error_t error;
    const char *problem;
    int r = weir_read_all(weir_req_body(chat->req), BODY_BYTES, weir_after_ms(BODY_MS), &body);

    if (r < 0) {
        return r == WEIR_ELIMIT ? refuse(chat->req, 413, "the request is over 1 MiB") : r;
    }
    chat->question =
        json_loadb((const char *)weir_chunk_view(body).data, weir_chunk_len(body), 0, &error);
    weir_chunk_unref(body);
    problem = chat->question == NULL ? error.text : understand(chat, &error);
    return problem == NULL ? 1 : refuse(chat->req, 400, problem);
}

/* The same. */
static int begin_answer(struct openai *chat)
{
    json_t *nothing;
    int r;

    if (!chat->is_stream) {
        chat->text = open_memstream(&chat->text_bytes, &chat->text_len);
        return chat->text == NULL ? WEIR_ENOMEM : 1;
    }
    r = weir_sse_begin(chat->req, 200, NULL, &chat->out);
    if (r == 0) {
        nothing = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        r = say_chunk(chat, nothing, NULL);
    }
    return r < 0 ? r : 1;
}

int openai_begin(struct weir_req *req, const char *model, struct openai **ret)
{
    struct openai *chat = calloc(1, sizeof(*chat));
    int r;

    if (chat == NULL) {
        return WEIR_ENOMEM;
    }
    chat->req = req;
    chat->model = model;
    chat->created = (json_int_t)time(NULL);
    chat->max_tokens = INT64_MAX;
    snprintf(chat->id, sizeof(chat->id), "chatcmpl-%" PRIu64, weir_req_id(req));
    r = read_question(chat);
    if (r == 1) {
        r = begin_answer(chat);
    }
    if (r == 1) {
        *ret = chat;
    } else {
        openai_destroy(chat);
    }
    return r;
}

void openai_destroy(struct openai *chat)
{
    weir_sink_destroy(chat->out);
    if (chat->text != NULL) {
        fclose(chat->text);
    }
    free(chat->text_bytes);
    json_decref(chat->question);
    free(chat);
}

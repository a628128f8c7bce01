/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_OPENAI_H
#define EXAMPLES_OPENAI_H

#include <weir/http.h>

/*
 * What clients of OpenAI's API say and want to hear: one chat completion, as events or as one object. The caller only has
 * tokens. JSON is parsed recursively, so all of it is for handlers on threads (<weir/blocking.h>), not for small stacks.
 */
struct openai;

/*
 * Reads the question and begins the answer. Returns 1, then openai_destroy() it; 0 when the question was refused, which
 * was the reply; or a negative code, which is to be the handler's result.
 */
int openai_begin(struct weir_req *req, const char *model, struct openai **ret);

const char *openai_id(struct openai *chat);       /* "chatcmpl-7" */
const char *openai_question(struct openai *chat); /* the last message's content */
uint64_t openai_max_tokens(struct openai *chat);  /* UINT64_MAX: not said */

/* One more token: leaves at once in a stream, waiting for the client. Returns 0 or a negative code. */
int openai_token(struct openai *chat, struct weir_view token);

/* Ends the answer. `finish_reason` is "stop" or "length". Returns 0 or a negative code. */
int openai_end(struct openai *chat, const char *finish_reason, uint64_t prompt_tokens);

/* An answer that was not ended is cut, visibly. */
void openai_destroy(struct openai *chat);

/* The reply to GET /v1/models: there is but one. */
int openai_models(struct weir_req *req, const char *model);

#endif

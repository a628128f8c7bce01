/* SPDX-License-Identifier: MIT */
#include "route/mw.h"

#include "base/cleanup.h"
#include "http/request.h"
#include "route/text.h"

int weir__reply_with(struct weir_req *req, int status, const char *name, struct weir_view value,
                     const char *text)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str(name), value);
    }
    return r < 0
               ? r
               : weir_reply_bytes(req, status, fields, "text/plain; charset=utf-8", weir_str(text));
}

int weir__reply_retry(struct weir_req *req, int status, uint64_t seconds, const char *text)
{
    char digits[20];
    struct weir__text value = {.data = digits, .size = sizeof(digits)};

    weir__text_u64(&value, seconds > 0 ? seconds : 1);
    return weir__reply_with(req, status, "Retry-After", weir_bytes(digits, value.len), text);
}

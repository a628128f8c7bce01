/* SPDX-License-Identifier: MIT */
/* The texts and names behind the one error table. */
#include <weir/err.h>

#include <stddef.h>

const char *weir_strerror(int code)
{
    switch (code) {
    case 0:
        return "success";
#define TEXT_CASE(number, name, text) \
    case (number):                    \
        return text;
        WEIR_ERR_MAP(TEXT_CASE)
#undef TEXT_CASE
    default:
        return "not a weir error code";
    }
}

const char *weir_err_name(int code)
{
    switch (code) {
#define NAME_CASE(number, name, text) \
    case (number):                    \
        return "WEIR_" #name;
        WEIR_ERR_MAP(NAME_CASE)
#undef NAME_CASE
    default:
        return "?";
    }
}

const char *weir_reason_name(enum weir_reason reason)
{
    static const char *const names[] = {
        [WEIR_REASON_NONE] = "none",           [WEIR_REASON_FIN] = "fin",
        [WEIR_REASON_RESET] = "reset",         [WEIR_REASON_STALL] = "stall",
        [WEIR_REASON_TIMEOUT] = "timeout",     [WEIR_REASON_SHUTDOWN] = "shutdown",
        [WEIR_REASON_LIMIT] = "limit",         [WEIR_REASON_PROTOCOL] = "protocol",
        [WEIR_REASON_TRUNCATED] = "truncated", [WEIR_REASON_ABANDONED] = "abandoned",
        [WEIR_REASON_CANCELED] = "canceled",   [WEIR_REASON_HANDLER] = "handler",
    };

    if ((size_t)reason >= sizeof(names) / sizeof(names[0])) {
        return "?";
    }
    return names[reason];
}

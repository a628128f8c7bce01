/* SPDX-License-Identifier: MIT */
/* The one place that says which HTTP status a code of ours is. */
#include <weir/http.h>

int weir_err_status(int code)
{
    switch (code) {
    case WEIR_ELIMIT:
        return 413;
    case WEIR_ETIMEDOUT:
    case WEIR_ESTALLED:
        return 408;
    case WEIR_EPROTO:
    case WEIR_EINVAL:
    case WEIR_ETRUNCATED:
        return 400;
    case WEIR_ENOTFOUND:
        return 404;
    case WEIR_EREFUSED:
        return 403;
    case WEIR_EUNSUPPORTED:
        return 501;
    case WEIR_EBUDGET:
    case WEIR_ENOMEM:
    case WEIR_EBUSY:
    case WEIR_EFLOW:
        return 503;
    default:
        return 500;
    }
}

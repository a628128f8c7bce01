/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_MIME_H
#define WEIR_HTTP_MIME_H

#include <weir/view.h>

/* The media type that belongs to a name's suffix, static; "application/octet-stream" when it is not known. */
const char *weir__mime_type(struct weir_view name);

#endif

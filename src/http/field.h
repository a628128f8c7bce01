/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_FIELD_H
#define WEIR_HTTP_FIELD_H

#include <weir/view.h>

/* One field line: both views are borrowed, from the head's bytes or from whoever composed it. */
struct weir__field {
    struct weir_view name;
    struct weir_view value; /* without the white space around it; may be empty */
};

#endif

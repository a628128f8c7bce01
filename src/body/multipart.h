/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BODY_MULTIPART_H
#define WEIR_BODY_MULTIPART_H

#include <weir/multipart.h>

#include "body/boundary.h"
#include "body/part_head.h"
#include "stream/stream.h"

/* Where a multipart body is. */
enum weir__multipart_state {
    WEIR__MULTIPART_PREAMBLE,
    WEIR__MULTIPART_LINE, /* the rest of a delimiter's line */
    WEIR__MULTIPART_HEADER,
    WEIR__MULTIPART_DATA, /* of the present part */
    WEIR__MULTIPART_EPILOGUE,
};

/* In the rest of a delimiter's line: [ "--" ] *( SP / HTAB ) CRLF */
enum weir__multipart_line { LINE_START, LINE_DASH, LINE_PADDING, LINE_CR };

#define WEIR__PART_MAGIC 0x70617274u

struct weir_part {
    uint32_t magic; /* 0: none is handed out */
    struct weir__part_head head;
    struct weir_source body;
};

struct weir_multipart {
    uint32_t magic;
    int final; /* as of a source */
    struct weir_error error;
    bool busy;
    bool open; /* a part was handed out, and its body is not destroyed */
    bool last; /* the delimiter was the last one */
    uint8_t state, line;
    struct weir_source *source; /* borrowed */
    struct weir_multipart_limits limits;
    uint64_t total_left, part_left, padding_left;
    size_t parts;

    struct weir_chunk *chunk; /* the present piece; NULL: none */
    size_t at;                /* bytes of it that are done with */
    /* What the last scan found from `at` on: data, then `after` bytes of a delimiter, which is whole if `found`. */
    size_t run, after;
    bool found;
    struct weir_view held; /* data that was held back, before all this */
    struct weir__boundary boundary;

    size_t header_bytes;           /* of the present header, or of a delimiter's line */
    struct weir_chunk *collecting; /* a line in more than one piece; NULL: none was so far */
    size_t collected;              /* bytes of it; it is as long as its buffer */
    struct weir_part part;
};

#endif

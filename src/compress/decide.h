/* SPDX-License-Identifier: MIT */
#ifndef WEIR_COMPRESS_DECIDE_H
#define WEIR_COMPRESS_DECIDE_H

#include <weir/compress.h>

/*
 * Whether a reply is compressed, and what its head then says. The request's part is looked at when it arrives, for its head
 * may be gone when the reply begins.
 */
struct weir__compress_wish {
    enum weir_coding coding, for_events; /* negotiated */
    bool identity_refused;
    bool leave_alone; /* a range or no-transform was asked for */
    uint64_t min_bytes;
};

struct weir__compress_choice {
    enum weir_coding coding; /* WEIR_CODING_IDENTITY: the body goes as it is */
    bool events;             /* in small pieces that must leave at once */
    bool varies;             /* with the request's Accept-Encoding */
    bool weak; /* a strong ETag becomes a weak one: coded, or the 304 of such a reply */
};

void weir__compress_wish(struct weir_req *req, const struct weir_compress_opts *opts,
                         struct weir__compress_wish *ret);
struct weir__compress_choice weir__compress_choose(const struct weir__compress_wish *wish,
                                                   struct weir_reply *reply);

/* Alters the head. Returns 0, or an error: it may then be altered in part. */
int weir__compress_alter(struct weir_reply *reply, const struct weir__compress_choice *choice);

/* Whether bytes of that type are worth it, and whether they are events. */
bool weir__compress_is_type(struct weir_view type, bool *ret_events);

#endif

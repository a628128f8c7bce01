/* SPDX-License-Identifier: MIT */
/* A chunk as a message: the mailbox knows payloads, not chunks. */
#include <weir/chunk.h>
#include <weir/mailbox.h>

static void drop(void *chunk)
{
    weir_chunk_unref(chunk);
}

int weir_send_chunk(struct weir_sender *sender, struct weir_chunk *chunk)
{
    struct weir_view bytes = weir_chunk_view(chunk);
    int r = weir_send(sender, &(struct weir_msg){
                                  .bytes = bytes.len,
                                  .data = weir_chunk_ref(chunk),
                                  .destroy = drop,
                                  .text = bytes,
                              });

    if (r < 0) {
        weir_chunk_unref(chunk);
    }
    return r;
}

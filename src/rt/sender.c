/* SPDX-License-Identifier: MIT */
/*
 * Sender handles that a thread has bound to its life. Each thread keeps its own list, so nothing
 * here is shared; the list's destructor runs when the thread ends and drops what is left.
 */
#include "rt/sender.h"

#include "base/alloc.h"

#include <pthread.h>

struct bound {
    struct bound *next;
    struct weir_sender *sender;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* holds the address of bound_here, for its destructor only */
static int key_error;
static __thread struct bound *bound_here;

static void thread_ends(void *unused)
{
    (void)unused;
    while (bound_here != NULL) {
        struct bound *first = bound_here;

        bound_here = first->next;
        weir__sender_drop(first->sender);
        weir_free(first);
    }
}

static void make_key(void)
{
    key_error = pthread_key_create(&key, thread_ends);
}

int weir_sender_bind(struct weir_sender *sender)
{
    struct bound *bound;

    pthread_once(&once, make_key);
    if (key_error != 0 || pthread_setspecific(key, &bound_here) != 0) {
        return WEIR_ENOMEM;
    }
    bound = weir_alloc(sizeof(*bound));
    if (bound == NULL) {
        return WEIR_ENOMEM;
    }
    *bound = (struct bound){bound_here, sender};
    bound_here = bound;
    return 0;
}

struct weir_sender *weir_sender_unref(struct weir_sender *sender)
{
    if (sender == NULL) {
        return NULL;
    }
    for (struct bound **at = &bound_here; *at != NULL; at = &(*at)->next) {
        struct bound *found = *at;

        if (found->sender == sender) {
            *at = found->next;
            weir_free(found);
            break;
        }
    }
    weir__sender_drop(sender);
    return NULL;
}

void weir_sender_unrefp(struct weir_sender **sender)
{
    *sender = weir_sender_unref(*sender);
}

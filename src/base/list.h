/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_LIST_H
#define WEIR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Intrusive doubly linked list. A head and a link are the same struct; a link that is in no list points at itself,
 * so that removing twice is harmless.
 */
struct weir_list {
    struct weir_list *prev, *next;
};

#define weir_list_entry(link, type, member) \
    ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void weir_list_init(struct weir_list *link)
{
    link->prev = link;
    link->next = link;
}

static inline bool weir_list_is_empty(const struct weir_list *head)
{
    return head->next == head;
}

static inline void weir_list_insert_before(struct weir_list *at, struct weir_list *link)
{
    link->prev = at->prev;
    link->next = at;
    at->prev->next = link;
    at->prev = link;
}

static inline void weir_list_push_back(struct weir_list *head, struct weir_list *link)
{
    weir_list_insert_before(head, link);
}

static inline void weir_list_push_front(struct weir_list *head, struct weir_list *link)
{
    weir_list_insert_before(head->next, link);
}

static inline void weir_list_remove(struct weir_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    weir_list_init(link);
}

static inline struct weir_list *weir_list_pop_front(struct weir_list *head)
{
    struct weir_list *link = head->next;

    if (link == head) {
        return NULL;
    }
    weir_list_remove(link);
    return link;
}

#endif

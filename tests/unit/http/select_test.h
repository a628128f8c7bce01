/* SPDX-License-Identifier: MIT */
/* What the tests of selects share: what was chosen, and when, as one line of text. */
#ifndef WEIR_TEST_SELECT_H
#define WEIR_TEST_SELECT_H

#include "http_test.h"

#include <weir/select.h>

#define TIME(ms)                                  \
    {                                             \
        .kind = WEIR_CASE_TIME, .at = (ms) + 1000 \
    }

static size_t which;

/* What a select says, and when: "INDEX@MS", or the error's name. */
static char story[1024];

static inline int choose(const struct weir_case *cases, size_t count, int64_t deadline)
{
    size_t len = strlen(story);
    int r;

    which = SIZE_MAX;
    r = weir_select(cases, count, deadline, &which);
    if (r == 1) {
        snprintf(story + len, sizeof(story) - len, "%zu@%d ", which, (int)scene_ms());
    } else {
        assert_true(which == SIZE_MAX);
        snprintf(story + len, sizeof(story) - len, "%s@%d ", weir_err_name(r), (int)scene_ms());
    }
    return r;
}

static inline void expect_story(struct scene *scene, const char *wanted)
{
    story[0] = '\0';
    play(scene);
    assert_string_equal(story, wanted);
}

#endif

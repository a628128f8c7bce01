/* SPDX-License-Identifier: MIT */
/*
 * A directory over HTTP: ranges, validators, and the bytes from the page cache to the socket inside the kernel.
 *
 *     files --dir . &
 *     curl http://127.0.0.1:8000/README.md
 *     curl -r 100-199 http://127.0.0.1:8000/README.md
 */
#include <weir/files.h>

#include "common.h"

#include <stdio.h>

static struct weir_static served = {
    .prefix = "/",
    .file = {.index = "index.html",
             .cache_control = "no-cache"}, /* asked for again, mostly a 304 */
};

static int take_dir(void *arg, struct weir_view value)
{
    char dir[1024];

    (void)arg;
    if (value.len >= sizeof(dir) || served.root != NULL) {
        return WEIR_EINVAL;
    }
    memcpy(dir, value.data, value.len);
    dir[value.len] = '\0';
    return weir_root_open(dir, &served.root);
}

static int start(void *arg)
{
    (void)arg;
    return served.root != NULL ? 0 : weir_root_open(".", &served.root);
}

int main(int argc, char **argv)
{
    int status =
        example_main(argc, argv,
                     &(struct example){
                         .name = "files",
                         .about = "serves a directory",
                         .handler = weir_static,
                         .arg = &served,
                         .options =
                             (const struct example_option[]){
                                 {"--dir", "DIR               what to serve [.]", take_dir},
                                 {0},
                             },
                         .start = start,
                     });

    weir_root_destroy(served.root);
    return status;
}

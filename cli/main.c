/* SPDX-License-Identifier: MIT */
/* The `weir` command: finds the subcommand. */
#include "gateway.h"

#include <stdio.h>
#include <string.h>

static void usage(FILE *out)
{
    fputs(
        "usage: weir COMMAND [ARGUMENTS]\n"
        "\n"
        "  weir proxy --listen ADDR:PORT --to http://HOST:PORT   stream requests through to an upstream\n"
        "  weir proxy --help                                     its options\n"
        "  weir --version\n",
        out);
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "proxy") == 0) {
        return gw_main(argc - 2, argv + 2);
    }
    if (argc >= 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0)) {
        puts("weir " WEIR_VERSION);
        return 0;
    }
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        usage(stdout);
        return 0;
    }
    if (argc >= 2) {
        fprintf(stderr, "weir: there is no command \"%s\"\n", argv[1]);
    }
    usage(stderr);
    return 2;
}

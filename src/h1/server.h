/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_SERVER_H
#define WEIR_H1_SERVER_H

#include "http/serve.h"

/* Serves HTTP/1.1 on an accepted descriptor (given, closed on failure). Returns 0, WEIR_ENOMEM, WEIR_EIO. */
int weir__h1_serve_take(struct weir__serve_loop *serve_loop, int fd);

#endif

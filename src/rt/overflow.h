/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_OVERFLOW_H
#define WEIR_RT_OVERFLOW_H

/*
 * Names the crash of a fiber that ran out of stack: without this it is a segmentation fault like
 * any other. Call it on each loop thread: it gives the thread a signal stack (until the thread
 * ends) and, the first time, takes SIGSEGV and SIGBUS; whatever handled them before gets them
 * afterwards. Does nothing under a sanitizer, which has handlers of its own. Returns 0 or
 * WEIR_ENOMEM. Context: the loop's thread, outside of a fiber.
 */
int weir__overflow_handler_install(void);

#endif

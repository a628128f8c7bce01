/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_OFFLOAD_H
#define WEIR_RT_OFFLOAD_H

#include <weir/offload.h>

/* Ends the pool: jobs that have not begun are answered with WEIR_ECLOSED, those that run are waited
 * for, the threads joined. Blocks. A job after that makes a new pool, with the same settings.
 * Context: a thread without a loop, or one whose loop has nothing more to do. */
void weir__offload_stop(void);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef WEIR_EXPORT_H
#define WEIR_EXPORT_H

/*
 * How the library marks its symbols and what a caller must not ignore. No types, no calls.
 */

#define WEIR_API __attribute__((visibility("default")))
#define WEIR_NODISCARD __attribute__((warn_unused_result))
#define WEIR_PRINTF(format_index, first_arg) \
    __attribute__((format(printf, format_index, first_arg)))

/* Ignores a result on purpose; gcc warns about a plain (void) cast. */
#define WEIR_IGNORE(call)            \
    do {                             \
        if ((call) != 0) {           \
            /* ignored on purpose */ \
        }                            \
    } while (0)

#ifdef __cplusplus
#define WEIR_BEGIN_DECLS extern "C" {
#define WEIR_END_DECLS }
#else
#define WEIR_BEGIN_DECLS
#define WEIR_END_DECLS
#endif

#endif

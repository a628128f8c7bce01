/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_BANNED_H
#define WEIR_BASE_BANNED_H

/*
 * Included before each file of the library by the build: every use of a banned function becomes a warning, hence an
 * error. Declaring them as deprecated, rather than poisoning the names, leaves system headers and struct members of
 * the same name alone. It happens before any system header that declares them: those may come with inline bodies,
 * after which clang takes no attribute. assert(), alloca() and <ctype.h> are macros: scripts/check-banned finds those.
 *
 * A file whose business such a call is (base/alloc.c) puts
 *     #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
 * before its first function, and stands in the list of scripts/check-banned.
 */
#include <stdarg.h>
#include <stddef.h>

#include <sys/types.h>

struct addrinfo;
struct tm;

#define WEIR_BANNED(instead) __attribute__((deprecated("banned: use " instead)))

/* Unbounded, or silent about truncation. */
char *strcpy(char *, const char *) WEIR_BANNED("memcpy with a checked length");
char *strcat(char *, const char *) WEIR_BANNED("memcpy with a checked length");
char *strncpy(char *, const char *, size_t) WEIR_BANNED("memcpy with a checked length");
char *strncat(char *, const char *, size_t) WEIR_BANNED("memcpy with a checked length");
int sprintf(char *, const char *, ...) WEIR_BANNED("snprintf");
int vsprintf(char *, const char *, va_list) WEIR_BANNED("vsnprintf");

/* Parsers that need a NUL, take signs and spaces, or cannot report an error. */
char *strtok(char *, const char *) WEIR_BANNED("weir_view functions");
int atoi(const char *) WEIR_BANNED("weir_view_to_u64");
long atol(const char *) WEIR_BANNED("weir_view_to_u64");
long strtol(const char *, char **, int) WEIR_BANNED("weir_view_to_u64");
unsigned long strtoul(const char *, char **, int) WEIR_BANNED("weir_view_to_u64");
long long strtoll(const char *, char **, int) WEIR_BANNED("weir_view_to_u64");
unsigned long long strtoull(const char *, char **, int) WEIR_BANNED("weir_view_to_u64");

/* One static buffer for all threads. */
struct tm *gmtime(const time_t *) WEIR_BANNED("gmtime_r");
struct tm *localtime(const time_t *) WEIR_BANNED("gmtime_r");

/* Past the door to the heap. */
void *malloc(size_t) WEIR_BANNED("weir_alloc");
void *calloc(size_t, size_t) WEIR_BANNED("weir_alloc0");
void *realloc(void *, size_t) WEIR_BANNED("weir_realloc");
void free(void *) WEIR_BANNED("weir_free");
char *strdup(const char *) WEIR_BANNED("weir_alloc and memcpy");
char *strndup(const char *, size_t) WEIR_BANNED("weir_alloc and memcpy");
int asprintf(char **, const char *, ...) WEIR_BANNED("snprintf into a buffer of weir_alloc");

/* Ends the caller's program, or blocks its loop. */
_Noreturn void exit(int) WEIR_BANNED("an error code");
unsigned int sleep(unsigned int) WEIR_BANNED("weir_sleep");
int usleep(useconds_t) WEIR_BANNED("weir_sleep");
int getaddrinfo(const char *, const char *, const struct addrinfo *, struct addrinfo **)
    WEIR_BANNED("the library's resolver");

#undef WEIR_BANNED

#endif

/* SPDX-License-Identifier: MIT */
/* One tile of text in memory, mapped side by side as often as it takes. */
#include "mega.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

#define TILE_BYTES ((size_t)16 << 20)

static struct {
    pthread_once_t once;
    int fd;
} tile = {PTHREAD_ONCE_INIT, -1};

static void make_tile(void)
{
    struct report report;
    void *memory = MAP_FAILED;
    int fd = memfd_create("report", MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, (off_t)TILE_BYTES) == 0) {
        memory = mmap(NULL, TILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    report_init(&report, TILE_BYTES, 0);
    report_read(&report, memory, TILE_BYTES);
    munmap(memory, TILE_BYTES);
    tile.fd = fd;
}

uint8_t *mega_map(uint64_t bytes)
{
    uint8_t *memory;

    pthread_once(&tile.once, make_tile);
    if (tile.fd < 0 || bytes == 0 || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    /* The same pages again and again, side by side. */
    memory =
        mmap(NULL, (size_t)bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    for (uint64_t at = 0; at < bytes; at += TILE_BYTES) {
        size_t part = bytes - at < TILE_BYTES ? (size_t)(bytes - at) : TILE_BYTES;

        if (mmap(memory + at, part, PROT_READ, MAP_SHARED | MAP_FIXED, tile.fd, 0) == MAP_FAILED) {
            munmap(memory, (size_t)bytes);
            return NULL;
        }
    }
    return memory;
}

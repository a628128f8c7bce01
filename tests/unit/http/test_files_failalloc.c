/* SPDX-License-Identifier: MIT */
/* Every allocation of a file's reply fails once, with all that follow: the whole, a status, or an abort. */
#include "http_test.h"

#include <weir/files.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES 80100

static char base[64];
static struct weir_root *root;

static int set_up(void **state)
{
    char path[128];
    int fd;

    (void)state;
    snprintf(base, sizeof(base), "/tmp/weir-files-XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(path, sizeof(path), "%s/docs", base);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/a.txt", base);
    fd = open(path, O_WRONLY | O_CREAT, 0644);
    for (size_t i = 0; i < BYTES; i++) {
        uint8_t byte = weir__memory_byte(i);

        assert_int_equal(write(fd, &byte, 1), 1);
    }
    close(fd);
    assert_int_equal(weir_root_open(base, &root), 0);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    weir_root_destroy(root);
    snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command);
}

static int descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) != -1;
    }
    return count;
}

static int replies(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_file(req, root, weir_req_path(req),
                           &(struct weir_file_opts){.index = "index.html"});
}

static void fail_each(const char *method, const char *target, const char *const (*lines)[2],
                      int status)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 30, .act = WEIR__MEMORY_SOCKET, .bytes = 900000}};

    for (int fds = 0; fds < 2; fds++) {
        int before = descriptors();

        for (int64_t n = 1;; n++) {
            struct scene scene = {
                .handler = replies,
                .lines = lines,
                .steps = steps,
                .count = 1,
                .opts = {.method = method, .target = target, .socket = 1000, .use_fds = fds}};

            assert_true(n < 1000);
            play_failing(&scene, n);
            assert_int_equal(descriptors(), before);
            if (scene.started < 0) {
                continue;
            }
            assert_true(scene.result.ended != scene.result.aborted);
            if (scene.result.ended && scene.result.status == 200) {
                assert_int_equal(scene.result.taken, method[0] == 'H' ? 0 : BYTES);
                assert_true(scene.result.pattern);
            }
            if (scene.result.ended && scene.result.status == status) {
                break;
            }
            assert_true(scene.result.aborted || scene.result.status == 503 ||
                        scene.result.status == 500);
        }
    }
}

static void whole_files(void **state)
{
    (void)state;
    fail_each("GET", "/a.txt", NULL, 200);
    fail_each("HEAD", "/a.txt", NULL, 200);
}

static void other_answers(void **state)
{
    (void)state;
    fail_each("GET", "/a.txt", (const char *const[][2]){{"Range", "bytes=0-80000"}, {NULL, NULL}},
              206);
    fail_each("GET", "/a.txt", (const char *const[][2]){{"Range", "bytes=90000-"}, {NULL, NULL}},
              416);
    fail_each("GET", "/a.txt", (const char *const[][2]){{"If-None-Match", "*"}, {NULL, NULL}}, 304);
    fail_each("GET", "/docs", NULL, 301);
    fail_each("POST", "/a.txt", NULL, 405);
}

static void roots(void **state)
{
    struct weir_root *other = NULL;
    int before = descriptors();

    (void)state;
    weir__alloc_fail_at(1);
    assert_int_equal(weir_root_open(base, &other), WEIR_ENOMEM);
    weir__alloc_fail_at(0);
    assert_null(other);
    assert_int_equal(descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files),
        cmocka_unit_test(other_answers),
        cmocka_unit_test(roots),
    };

    return cmocka_run_group_tests_name("files failalloc", tests, set_up, tear_down);
}

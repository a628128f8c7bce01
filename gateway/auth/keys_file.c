/* SPDX-License-Identifier: MIT */
/* Reads the keys file. Strict: whatever is not understood is an error, for a key that does too much is worse. */
#include "auth/keys_file.h"

#include <weir/err.h>

#include "alloc.h"
#include "auth/keys.h"
#include "nearest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LABEL_MAX 64
#define HEX_DIGITS (2 * GW_DIGEST_BYTES)
/* A label of one byte, a space, a hash. */
#define KEY_LINE_MIN (2 + HEX_DIGITS)

/* Where the reader is; `at` is in the copy of the text. */
struct reader {
    const char *file;
    struct gw_problem *problem;
    uint8_t *at;
    uint8_t *line_start;
    uint8_t *line_end;
    size_t line;
};

/* column: counted from 1, in bytes. */
static int fail(const struct reader *reader, const uint8_t *where, const char *text)
{
    gw_problem_set(reader->problem, "%s:%zu:%zu: %s", reader->file, reader->line,
                   (size_t)(where - reader->line_start) + 1, text);
    return WEIR_EINVAL;
}

/* RFC 9110 5.6.2 */
static bool is_token_byte(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') ||
           (byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

/* The next run of bytes other than space and tab; of length 0 at the line's end. */
static struct weir_view next_word(struct reader *reader)
{
    uint8_t *start;

    while (reader->at < reader->line_end && (*reader->at == ' ' || *reader->at == '\t')) {
        reader->at++;
    }
    start = reader->at;
    while (reader->at < reader->line_end && *reader->at != ' ' && *reader->at != '\t') {
        reader->at++;
    }
    return weir_bytes(start, (size_t)(reader->at - start));
}

static int check_label(const struct reader *reader, struct weir_view label)
{
    for (size_t i = 0; i < label.len; i++) {
        if (!is_token_byte(label.data[i])) {
            return fail(reader, label.data + i,
                        "a label may have letters, digits and !#$%&'*+-.^_`|~ only");
        }
    }
    if (label.len > LABEL_MAX) {
        return fail(reader, label.data, "the label is longer than 64 bytes");
    }
    return 0;
}

static int hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The messages never show the word: it may be a key in the clear. */
static int read_digest(const struct reader *reader, struct weir_view word, uint8_t *digest)
{
    if (word.len == 0) {
        return fail(reader, word.data, "the SHA-256 of the key is missing after the label");
    }
    for (size_t i = 0; i < word.len; i++) {
        if (hex_value(word.data[i]) < 0) {
            return fail(reader, word.data + i,
                        "not a hexadecimal digit; the second field is the SHA-256 of the key");
        }
    }
    if (word.len != HEX_DIGITS) {
        return fail(reader, word.data,
                    word.len < HEX_DIGITS ? "a SHA-256 has 64 hexadecimal digits; these are fewer"
                                          : "a SHA-256 has 64 hexadecimal digits; these are more");
    }
    for (size_t i = 0; i < GW_DIGEST_BYTES; i++) {
        digest[i] = (uint8_t)(hex_value(word.data[2 * i]) << 4 | hex_value(word.data[2 * i + 1]));
    }
    return 0;
}

static int check_prefix(const struct reader *reader, struct weir_view prefix)
{
    if (prefix.data[0] != '/') {
        return fail(reader, prefix.data, "a prefix begins with /");
    }
    if (memchr(prefix.data, '?', prefix.len) != NULL) {
        return fail(reader, prefix.data, "a prefix has no query");
    }
    if (!gw_path_is_plain(prefix)) {
        return fail(reader, prefix.data,
                    "a prefix has no dot segments, empty segments, backslashes, bytes outside of "
                    "visible ASCII, nor an encoded '.', '/' or '\\'");
    }
    return 0;
}

static int check_method(const struct reader *reader, struct weir_view method)
{
    for (size_t i = 0; i < method.len; i++) {
        uint8_t byte = method.data[i];

        if (!is_token_byte(byte)) {
            return fail(reader, method.data + i, "not allowed in a method");
        }
        if (byte >= 'a' && byte <= 'z') {
            return fail(reader, method.data, "methods are case-sensitive; write capitals");
        }
    }
    return 0;
}

/* Every item of the list, with no empty one: "a,,b" is more likely a slip than a wish. */
static int check_list(const struct reader *reader, struct weir_view list,
                      int (*check)(const struct reader *, struct weir_view))
{
    size_t start = 0;

    for (size_t i = 0; i <= list.len; i++) {
        int r;

        if (i < list.len && list.data[i] != ',') {
            continue;
        }
        if (i == start) {
            return fail(reader, list.data + start, "an item of the list is missing");
        }
        r = check(reader, weir_bytes(list.data + start, i - start));
        if (r < 0) {
            return r;
        }
        start = i + 1;
    }
    return 0;
}

static const char *const attributes[] = {"prefix", "methods"};

static const char *attribute_at(size_t i, void *arg)
{
    (void)arg;
    return attributes[i];
}

static int unknown_attribute(const struct reader *reader, struct weir_view word,
                             struct weir_view name)
{
    char text[256];
    size_t near;

    if (gw_nearest(name, 2, attribute_at, NULL, 1, &near) > 0) {
        snprintf(text, sizeof(text), "%s is unknown; did you mean %s=?", gw_quote(name).text,
                 attributes[near]);
    } else {
        snprintf(text, sizeof(text), "%s is unknown; only prefix= and methods= may follow",
                 gw_quote(name).text);
    }
    return fail(reader, word.data, text);
}

static int read_attribute(const struct reader *reader, struct weir_view word, struct gw_key *key)
{
    const uint8_t *equals = memchr(word.data, '=', word.len);
    struct weir_view name = word;
    struct weir_view value = {NULL, 0};
    struct weir_view *slot;
    bool is_prefix;

    if (equals != NULL) {
        name.len = (size_t)(equals - word.data);
        value = weir_bytes(equals + 1, word.len - name.len - 1);
    }
    is_prefix = weir_view_equal(name, weir_str("prefix"));
    if (equals == NULL || (!is_prefix && !weir_view_equal(name, weir_str("methods")))) {
        return unknown_attribute(reader, word, name);
    }
    slot = is_prefix ? &key->prefixes : &key->methods;
    if (!weir_view_is_absent(*slot)) {
        return fail(reader, word.data,
                    is_prefix ? "prefix= is given twice" : "methods= is given twice");
    }
    *slot = value;
    return check_list(reader, value, is_prefix ? check_prefix : check_method);
}

/* Returns 1 with a key, 0 for a line without one. */
static int read_line(struct reader *reader, struct gw_key *key)
{
    struct weir_view word = next_word(reader);
    uint8_t *label_end = reader->at;
    int r;

    if (word.len == 0 || word.data[0] == '#') {
        return 0;
    }
    memset(key, 0, sizeof(*key));
    key->line = reader->line;
    key->label = (const char *)word.data;
    key->label_column = (size_t)(word.data - reader->line_start) + 1;
    r = check_label(reader, word);
    if (r < 0) {
        return r;
    }
    word = next_word(reader);
    key->digest_column = (size_t)(word.data - reader->line_start) + 1;
    r = read_digest(reader, word, key->digest);
    while (r == 0 && (word = next_word(reader)).len > 0 && word.data[0] != '#') {
        r = read_attribute(reader, word, key);
    }
    /* A hash follows the label, so its end is a space within the copy. */
    if (r == 0) {
        *label_end = '\0';
    }
    return r < 0 ? r : 1;
}

static int by_label(const void *a, const void *b)
{
    const struct gw_key *const *x = a;
    const struct gw_key *const *y = b;
    int order = strcmp((*x)->label, (*y)->label);

    return order != 0 ? order : ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line);
}

static int by_digest(const void *a, const void *b)
{
    const struct gw_key *const *x = a;
    const struct gw_key *const *y = b;
    int order = memcmp((*x)->digest, (*y)->digest, GW_DIGEST_BYTES);

    return order != 0 ? order : ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line);
}

/* The first pair of neighbours that are the same, by where the second one stands in the file. */
static int find_double(struct gw_key **sorted, size_t count, bool by_name, const char *file,
                       struct gw_problem *problem)
{
    const struct gw_key *first = NULL;
    const struct gw_key *second = NULL;

    qsort(sorted, count, sizeof(*sorted), by_name ? by_label : by_digest);
    for (size_t i = 1; i < count; i++) {
        bool same = by_name
                        ? strcmp(sorted[i - 1]->label, sorted[i]->label) == 0
                        : memcmp(sorted[i - 1]->digest, sorted[i]->digest, GW_DIGEST_BYTES) == 0;

        if (same && (second == NULL || sorted[i]->line < second->line)) {
            first = sorted[i - 1];
            second = sorted[i];
        }
    }
    if (second == NULL) {
        return 0;
    }
    gw_problem_set(problem, "%s:%zu:%zu: the %s is already in line %zu", file, second->line,
                   by_name ? second->label_column : second->digest_column,
                   by_name ? "label" : "hash", first->line);
    return WEIR_EINVAL;
}

static int find_doubles(struct gw_keys *keys, const char *file, struct gw_problem *problem)
{
    struct gw_key **sorted;
    int r;

    if (keys->count < 2) {
        return 0;
    }
    sorted = gw_alloc0(keys->count * sizeof(struct gw_key *));
    if (sorted == NULL) {
        gw_problem_set(problem, "%s: out of memory", file);
        return WEIR_ENOMEM;
    }
    for (size_t i = 0; i < keys->count; i++) {
        sorted[i] = &keys->list[i];
    }
    r = find_double(sorted, keys->count, true, file, problem);
    if (r == 0) {
        r = find_double(sorted, keys->count, false, file, problem);
    }
    gw_free(sorted);
    return r;
}

/* Reads the lines of keys->text; keys->list has room for as many keys as the text can hold, and one. */
static int read_lines(struct gw_keys *keys, size_t len, const char *file,
                      struct gw_problem *problem)
{
    struct reader reader = {.file = file, .problem = problem, .line = 1};
    uint8_t *end = (uint8_t *)keys->text + len;

    for (uint8_t *start = (uint8_t *)keys->text; start < end; reader.line++) {
        uint8_t *newline = memchr(start, '\n', (size_t)(end - start));
        uint8_t *next = newline != NULL ? newline + 1 : end;
        int r;

        reader.line_start = start;
        reader.line_end = newline != NULL ? newline : end;
        if (reader.line_end > start && reader.line_end[-1] == '\r') {
            reader.line_end--;
        }
        reader.at = start;
        r = read_line(&reader, &keys->list[keys->count]);
        if (r < 0) {
            return r;
        }
        keys->count += (size_t)r;
        start = next;
    }
    return 0;
}

int gw_keys_parse(struct weir_view text, const char *file, struct gw_keys **ret,
                  struct gw_problem *problem)
{
    struct gw_keys *keys;
    size_t room =
        text.len / KEY_LINE_MIN + 1; /* and one more, which the last, faulty line may use */
    int r;

    if (text.len > GW_KEYS_FILE_MAX) {
        gw_problem_set(problem, "%s: the file is larger than 1MiB", file);
        return WEIR_ELIMIT;
    }
    keys = gw_alloc0(sizeof(*keys));
    if (keys != NULL) {
        keys->text = gw_alloc0(text.len + 1);
        keys->list = gw_alloc0(room * sizeof(*keys->list));
    }
    if (keys == NULL || keys->text == NULL || keys->list == NULL) {
        gw_keys_destroy(keys);
        gw_problem_set(problem, "%s: out of memory", file);
        return WEIR_ENOMEM;
    }
    if (text.len > 0) {
        memcpy(keys->text, text.data, text.len);
    }
    r = read_lines(keys, text.len, file, problem);
    if (r == 0) {
        r = find_doubles(keys, file, problem);
    }
    if (r < 0) {
        gw_keys_destroy(keys);
        return r;
    }
    *ret = keys;
    return 0;
}

/* Reads at most `size` bytes, to the file's end. Returns how many, or -1 with errno. */
static ssize_t read_all(int fd, char *buffer, size_t size)
{
    size_t have = 0;

    while (have < size) {
        ssize_t n = read(fd, buffer + have, size - have);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        have += (size_t)n;
    }
    return (ssize_t)have;
}

int gw_keys_load(const char *path, struct gw_keys **ret, struct gw_problem *problem)
{
    const size_t size = GW_KEYS_FILE_MAX + 1; /* one more, to see that it is too long */
    char *buffer = NULL;
    ssize_t len;
    int r;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0) {
        gw_problem_set(problem, "%s: cannot open: %s", path, strerror(errno));
        return WEIR_EIO;
    }
    buffer = gw_alloc0(size);
    if (buffer == NULL) {
        gw_problem_set(problem, "%s: out of memory", path);
        r = WEIR_ENOMEM;
        goto out;
    }
    len = read_all(fd, buffer, size);
    if (len < 0) {
        gw_problem_set(problem, "%s: cannot read: %s", path, strerror(errno));
        r = WEIR_EIO;
        goto out;
    }
    r = gw_keys_parse(weir_bytes(buffer, (size_t)len), path, ret, problem);
out:
    gw_free(buffer);
    close(fd);
    return r;
}

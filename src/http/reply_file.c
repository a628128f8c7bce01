/* SPDX-License-Identifier: MIT */
/*
 * A file as a reply: what it is, which part of it is wanted, and whether it is wanted at all. Everything that can fail
 * does so before the head; what happens after it is the pipe's business.
 */
#include <weir/files.h>
#include <weir/sources.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "http/conditional.h"
#include "http/date.h"
#include "http/file_path.h"
#include "http/mime.h"
#include "http/range.h"
#include "http/request.h"
#include "http/root.h"
#include "rt/relay.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

struct file {
    int fd;
    uint64_t size;
    const char *type;
    int64_t last_modified;
    char date[WEIR__DATE_BYTES];
    char etag[64];
    char content_range[80];
};

static void close_file(struct file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
}

static int add(struct weir_fields *fields, const char *name, const char *value)
{
    return weir_fields_add_borrowed(fields, weir_str(name), weir_str(value));
}

/* A 304 and a 416 do not carry what describes a content they do not have (RFC 9110 15.4.5). */
static bool describes_content(struct weir_view name)
{
    return name.len > 8 && weir_view_equal_nocase(weir_bytes(name.data, 8), weir_str("Content-")) &&
           !weir_view_equal_nocase(name, weir_str("Content-Location"));
}

static int add_given(struct weir_fields *fields, const struct weir_file_opts *opts, int status)
{
    int r = opts->cache_control != NULL ? add(fields, "Cache-Control", opts->cache_control) : 0;

    for (size_t i = 0; r == 0 && i < weir_fields_count(opts->fields); i++) {
        struct weir_field field = weir_fields_at(opts->fields, i);

        if (status < 300 || !describes_content(field.name)) {
            r = weir_fields_add_borrowed(fields, field.name, field.value);
        }
    }
    return r;
}

static int add_fields(struct weir_fields *fields, struct file *file,
                      const struct weir_file_opts *opts, int status)
{
    int r = 0;

    if (status < 300) {
        r = add(fields, "Content-Type", file->type);
        r = r == 0 ? add(fields, "X-Content-Type-Options", "nosniff") : r;
        r = r == 0 ? add(fields, "Accept-Ranges", "bytes") : r;
    }
    if (r == 0 && (status == 206 || status == 416)) {
        r = add(fields, "Content-Range", file->content_range);
    }
    if (r == 0 && status != 412) {
        r = add(fields, "ETag", file->etag);
        if (r == 0 && file->date[0] != '\0') {
            r = add(fields, "Last-Modified", file->date);
        }
    }
    return r == 0 && status != 412 ? add_given(fields, opts, status) : r;
}

/* The answer is decided: sends it. The descriptor goes with it. */
static int send_part(struct weir_req *req, struct file *file, const struct weir_file_opts *opts,
                     int status, const struct weir__range *range)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    struct weir_source *source;
    struct weir_sink *sink;
    int fd = file->fd;
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = add_fields(fields, file, opts, status);
    }
    if (r < 0) {
        return r;
    }
    if (status >= 300) {
        return weir_reply_empty(req, status, fields);
    }
    if (req->is_head) {
        r = weir_stream_begin(req, status, fields, range->length, &sink);
        if (r == 0) {
            r = weir_end(sink, NULL);
            weir_sink_destroy(sink);
        }
        return r;
    }
    file->fd = -1;
    r = weir_file_source_create_take(fd, range->first, range->length, &source);
    if (r < 0) {
        return r == WEIR_EINVAL ? WEIR_EBUSY : r; /* it has shrunk since it was looked at */
    }
    return weir_reply_source_take(req, status, fields, range->length, source);
}

static int send_file(struct weir_req *req, struct file *file, const struct weir_file_opts *opts)
{
    struct weir_fields *asked = weir_req_fields(req);
    struct weir__range range = {.first = 0, .length = file->size};
    struct weir_view etag = weir_str(file->etag);
    int64_t now = weir__http_now();
    int status = weir__conditional_status(asked, true, etag, file->last_modified, now);

    if (status == 0) {
        struct weir_view value = weir__fields_single(asked, "Range");

        status = 200;
        /* RFC 9110 14.2: of GET alone. */
        if (!req->is_head && !weir_view_is_absent(value) &&
            weir__conditional_allows_range(asked, etag, file->last_modified, now)) {
            switch (weir__range_parse(value, file->size, &range)) {
            case WEIR__RANGE_ONE:
                status = 206;
                snprintf(file->content_range, sizeof(file->content_range), "bytes %llu-%llu/%llu",
                         (unsigned long long)range.first,
                         (unsigned long long)(range.first + range.length - 1),
                         (unsigned long long)file->size);
                break;
            case WEIR__RANGE_UNSATISFIABLE:
                status = 416;
                snprintf(file->content_range, sizeof(file->content_range), "bytes */%llu",
                         (unsigned long long)file->size);
                break;
            case WEIR__RANGE_NONE:
                break;
            }
        }
    }
    return send_part(req, file, opts, status, &range);
}

/* The path with the slash that relative links need; no host, and nothing that could be taken for one. */
static int redirect(struct weir_req *req)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    WEIR_CLEANUP(weir_freep) char *location = NULL;
    struct weir_view path = weir_req_path(req);
    struct weir_view query = weir_req_query(req);
    size_t len = 0;
    int r;

    if (memchr(path.data, '\\', path.len) != NULL) {
        return WEIR_ENOTFOUND; /* browsers take it for a slash */
    }
    while (path.len > 1 && path.data[0] == '/' && path.data[1] == '/') {
        path.data++;
        path.len--;
    }
    location = weir_alloc(path.len + query.len + 2);
    if (location == NULL) {
        return WEIR_ENOMEM;
    }
    memcpy(location, path.data, path.len);
    len = path.len;
    location[len++] = '/';
    if (!weir_view_is_absent(query)) {
        location[len++] = '?';
        memcpy(location + len, query.data, query.len);
        len += query.len;
    }
    r = weir_fields_create(&fields);
    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str("Location"), weir_bytes(location, len));
    }
    return r == 0 ? weir_reply_empty(req, 301, fields) : r;
}

static int refuse_method(struct weir_req *req)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = add(fields, "Allow", "GET, HEAD");
    }
    return r == 0 ? weir_reply_empty(req, 405, fields) : r;
}

/* Everything about it that the reply tells. */
static void describe(struct file *file, const struct stat *status, const char *name,
                     const struct weir_file_opts *opts)
{
    int64_t now = weir__http_now();
    int64_t changed = status->st_mtim.tv_sec;

    file->size = (uint64_t)status->st_size;
    file->type = opts->type != NULL ? opts->type : weir__mime_type(weir_str(name));
    snprintf(file->etag, sizeof(file->etag), "\"%llx.%lx-%llx-%llx\"",
             (unsigned long long)status->st_mtim.tv_sec, (unsigned long)status->st_mtim.tv_nsec,
             (unsigned long long)status->st_size, (unsigned long long)status->st_ino);
    /* RFC 9110 8.8.2.1: never later than Date. */
    file->last_modified = changed > now ? now : changed;
    file->date[weir__http_date_format(file->last_modified, file->date)] = '\0';
    if (file->date[0] == '\0') {
        file->last_modified = -1;
    }
}

static int reply_decoded(struct weir_req *req, struct weir_root *root, const char *name,
                         bool is_dir, const struct weir_file_opts *opts)
{
    WEIR_CLEANUP(close_file) struct file file = {.fd = -1};
    const char *more = is_dir ? opts->index : NULL;
    struct stat status;
    int r;

    if (is_dir && opts->index == NULL) {
        return WEIR_ENOTFOUND;
    }
    r = weir__root_lookup(root, name, more, opts->no_symlinks, &file.fd, &status);
    if (r < 0) {
        return r;
    }
    if (S_ISDIR(status.st_mode) && !is_dir && opts->index != NULL) {
        struct weir_view asked = weir_req_path(req);

        if (asked.data[asked.len - 1] != '/') {
            return redirect(req);
        }
        /* What the handler named has no slash, but the request does. */
        more = opts->index;
        close_file(&file);
        file.fd = -1;
        r = weir__root_lookup(root, name, more, opts->no_symlinks, &file.fd, &status);
        if (r < 0) {
            return r;
        }
    }
    if (!S_ISREG(status.st_mode)) {
        return WEIR_ENOTFOUND;
    }
    describe(&file, &status, more != NULL ? more : name, opts);
    return send_file(req, &file, opts);
}

WEIR__RELAY_4(int, relay_reply_file, weir_reply_file, struct weir_req *, struct weir_root *,
              struct weir_view, const struct weir_file_opts *)

int weir_reply_file(struct weir_req *req, struct weir_root *root, struct weir_view path,
                    const struct weir_file_opts *opts)
{
    if (weir__relay_here != NULL) {
        return relay_reply_file(req, root, path, opts);
    }

    static const struct weir_file_opts defaults;
    WEIR_CLEANUP(weir_freep) char *name = NULL;
    bool is_dir = false;
    size_t len;
    int r;

    if (!req->is_head && !weir_view_equal(weir_req_method(req), weir_str("GET"))) {
        return refuse_method(req);
    }
    if (path.len >= (size_t)3 * PATH_MAX) {
        return WEIR_ENOTFOUND;
    }
    opts = opts != NULL ? opts : &defaults;
    name = weir_alloc(path.len + 2);
    if (name == NULL) {
        return WEIR_ENOMEM;
    }
    r = weir__file_path_decode(path, opts->plain, opts->dotfiles, name, &len, &is_dir);
    return r == 0 ? reply_decoded(req, root, name, is_dir, opts) : r;
}

int weir_static(struct weir_req *req, void *arg)
{
    struct weir_static *served = arg;
    struct weir_view prefix = weir_str(served->prefix != NULL ? served->prefix : "/");
    struct weir_view path = weir_req_path(req);

    if (!weir_view_starts_with(path, prefix)) {
        return WEIR_ENOTFOUND;
    }
    /* The slash at a prefix's end is the one before the name; where there is none one has to follow. */
    if (prefix.len > 0 && prefix.data[prefix.len - 1] == '/') {
        prefix.len--;
    }
    path = weir_bytes(path.data + prefix.len, path.len - prefix.len);
    if (path.len > 0 && path.data[0] != '/') {
        return WEIR_ENOTFOUND;
    }
    return weir_reply_file(req, served->root, path, &served->file);
}

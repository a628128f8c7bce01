/* SPDX-License-Identifier: MIT */
/* The rule for replies: which are compressed, and what becomes of their head. Knows no encoder and no stream. */
#include "compress/decide.h"

#include "base/alloc.h"

#define MIN_BYTES 1024

/* Types that shrink. All of text/ and whatever ends in +json, +xml, +yaml or +text do as well. */
static const struct {
    const char *name;
    bool events;
} types[] = {
    {"application/json", false},
    {"application/javascript", false},
    {"application/x-javascript", false},
    {"application/ecmascript", false},
    {"application/xml", false},
    {"application/x-ndjson", true},
    {"application/ndjson", true},
    {"application/jsonl", true},
    {"application/x-jsonlines", true},
    {"application/json-seq", true},
    {"text/event-stream", true},
    {"application/wasm", false},
    {"application/yaml", false},
    {"application/x-yaml", false},
    {"application/toml", false},
    {"application/sql", false},
    {"application/graphql", false},
    {"application/rtf", false},
    {"application/x-sh", false},
    {"application/vnd.ms-fontobject", false},
    {"application/x-font-ttf", false},
    {"font/ttf", false},
    {"font/otf", false},
    {"image/bmp", false},
    {"image/x-icon", false},
    {"image/vnd.microsoft.icon", false},
};
static const char *const suffixes[] = {"+json", "+xml", "+yaml", "+text"};

/* What a body's coding makes wrong: it speaks of the bytes that are sent (RFC 9530, RFC 9110 14.3). */
static const char *const void_fields[] = {"Content-Length", "Accept-Ranges",  "Content-MD5",
                                          "Digest",         "Content-Digest", "Repr-Digest"};

static bool starts_nocase(struct weir_view view, const char *prefix)
{
    size_t len = strlen(prefix);

    return view.len >= len && weir_view_equal_nocase(weir_bytes(view.data, len), weir_str(prefix));
}

static bool ends_nocase(struct weir_view view, const char *suffix)
{
    size_t len = strlen(suffix);

    return view.len >= len &&
           weir_view_equal_nocase(weir_bytes(view.data + view.len - len, len), weir_str(suffix));
}

/* The type without its parameters. */
static struct weir_view bare_type(struct weir_view type)
{
    const uint8_t *semicolon = type.len > 0 ? memchr(type.data, ';', type.len) : NULL;

    if (semicolon != NULL) {
        type.len = (size_t)(semicolon - type.data);
    }
    return weir_view_trim(type);
}

bool weir__compress_is_type(struct weir_view type, bool *ret_events)
{
    *ret_events = false;
    type = bare_type(type);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (weir_view_equal_nocase(type, weir_str(types[i].name))) {
            *ret_events = types[i].events;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (ends_nocase(type, suffixes[i])) {
            return true;
        }
    }
    return starts_nocase(type, "text/");
}

/* Whether a list in lines of that name has the item, without case. */
static bool has_item(struct weir_fields *fields, const char *name, const char *item)
{
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);
        struct weir_view element;

        if (!weir_view_equal_nocase(field.name, weir_str(name))) {
            continue;
        }
        while (weir_view_next_item(&field.value, &element) == 1) {
            if (weir_view_equal_nocase(element, weir_str(item))) {
                return true;
            }
        }
    }
    return false;
}

static bool has_field(struct weir_fields *fields, const char *name)
{
    return fields != NULL && !weir_view_is_absent(weir_fields_get(fields, weir_str(name)));
}

void weir__compress_wish(struct weir_req *req, const struct weir_compress_opts *opts,
                         struct weir__compress_wish *ret)
{
    static const enum weir_coding events[WEIR_CODINGS] = {WEIR_CODING_ZSTD, WEIR_CODING_GZIP,
                                                          WEIR_CODING_BROTLI};
    struct weir_fields *fields = weir_req_fields(req);
    bool ordered = opts->order[0] != WEIR_CODING_IDENTITY;

    *ret = (struct weir__compress_wish){
        .leave_alone =
            has_field(fields, "Range") || has_item(fields, "Cache-Control", "no-transform"),
        .min_bytes = opts->min_bytes > 0 ? opts->min_bytes : MIN_BYTES,
    };
    ret->coding = weir_coding_negotiate(fields, opts->order, &ret->identity_refused);
    ret->for_events = weir_coding_negotiate(fields, ordered ? opts->order : events, NULL);
}

/* Whether such a reply may be compressed for some client; what one asked for is another question. */
static bool may_be_coded(struct weir_reply *reply)
{
    struct weir_fields *fields = weir_reply_fields(reply);
    int status = weir_reply_status(reply);

    return status >= 200 && status != 204 && status != 206 && status != 304 &&
           !has_field(fields, "Content-Encoding") && !has_field(fields, "Content-Range") &&
           !has_item(fields, "Cache-Control", "no-transform") &&
           !starts_nocase(weir_reply_field(reply, "Content-Type"), "application/grpc");
}

struct weir__compress_choice weir__compress_choose(const struct weir__compress_wish *wish,
                                                   struct weir_reply *reply)
{
    struct weir__compress_choice choice = {.coding = WEIR_CODING_IDENTITY};
    uint64_t length = weir_reply_length(reply);
    struct weir_view type = weir_reply_field(reply, "Content-Type");
    bool worth;

    if (weir_reply_status(reply) == 304) {
        /* RFC 9110 15.4.5: the same ETag and Vary as the 200 had, whose type is not known here. */
        choice.varies = has_field(weir_reply_fields(reply), "ETag");
        choice.weak = choice.varies && !wish->leave_alone && wish->coding != WEIR_CODING_IDENTITY;
        return choice;
    }
    if (!may_be_coded(reply)) {
        return choice;
    }
    worth = weir__compress_is_type(type, &choice.events) && length >= wish->min_bytes;
    choice.varies = worth || wish->identity_refused;
    if (!choice.varies || wish->leave_alone || length == 0) {
        return choice;
    }
    choice.coding = choice.events ? wish->for_events : wish->coding;
    choice.weak = choice.coding != WEIR_CODING_IDENTITY;
    return choice;
}

/* Sets a field to the two texts in one. */
static int set_joined(struct weir_reply *reply, const char *name, struct weir_view first,
                      struct weir_view second)
{
    uint8_t *text = weir_alloc(first.len + second.len);
    int r;

    if (text == NULL) {
        return WEIR_ENOMEM;
    }
    memcpy(text, first.data, first.len);
    memcpy(text + first.len, second.data, second.len);
    r = weir_reply_set_field(reply, name, weir_bytes(text, first.len + second.len));
    weir_free(text);
    return r;
}

/* Vary: Accept-Encoding, in one line with what is there (RFC 9110 12.5.5). */
static int vary(struct weir_reply *reply)
{
    static const char item[] = "Accept-Encoding", more[] = ", Accept-Encoding";
    struct weir_fields *fields = weir_reply_fields(reply);
    struct weir_view name = weir_str("Vary");
    size_t lines = 0;

    if (has_item(fields, "Vary", item) || has_item(fields, "Vary", "*")) {
        return 0;
    }
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        lines += weir_view_equal_nocase(weir_fields_at(fields, i).name, name);
    }
    if (lines == 1 && weir_fields_get(fields, name).len > 0) {
        return set_joined(reply, "Vary", weir_fields_get(fields, name), weir_str(more));
    }
    if (lines > 1) { /* several: one more line says the same */
        int r = weir_reply_edit(reply, &fields);

        return r < 0 ? r : weir_fields_add_borrowed(fields, name, weir_str(item));
    }
    return weir_reply_set_field(reply, "Vary", weir_str(item));
}

int weir__compress_alter(struct weir_reply *reply, const struct weir__compress_choice *choice)
{
    int r = choice->varies ? vary(reply) : 0;

    if (r == 0 && choice->weak) {
        struct weir_view etag = weir_reply_field(reply, "ETag");

        if (etag.len > 0 && etag.data[0] == '"') {
            r = set_joined(reply, "ETag", weir_str("W/"), etag);
        }
    }
    if (r == 0 && choice->coding != WEIR_CODING_IDENTITY) {
        struct weir_fields *fields;

        r = weir_reply_set_field(reply, "Content-Encoding",
                                 weir_str(weir_coding_name(choice->coding)));
        if (r == 0) {
            r = weir_reply_edit(reply, &fields);
        }
        for (size_t i = 0; r == 0 && i < sizeof(void_fields) / sizeof(void_fields[0]); i++) {
            weir_fields_remove(fields, weir_str(void_fields[i]));
        }
    }
    return r;
}

/* SPDX-License-Identifier: MIT */
/* What a part of a multipart body says of itself. */
#include "body/multipart.h"

#include "base/assert.h"

struct weir_view weir_part_name(struct weir_part *part)
{
    weir_check(part, WEIR__PART_MAGIC);
    return part->head.name;
}

struct weir_view weir_part_filename(struct weir_part *part)
{
    weir_check(part, WEIR__PART_MAGIC);
    return part->head.filename;
}

struct weir_view weir_part_safe_filename(struct weir_part *part)
{
    weir_check(part, WEIR__PART_MAGIC);
    return part->head.safe_filename;
}

struct weir_view weir_part_content_type(struct weir_part *part)
{
    struct weir_view type;

    weir_check(part, WEIR__PART_MAGIC);
    type = weir_fields_get(part->head.fields, weir_str("content-type"));
    return weir_view_is_absent(type) ? weir_str("text/plain") : type;
}

struct weir_fields *weir_part_fields(struct weir_part *part)
{
    weir_check(part, WEIR__PART_MAGIC);
    return part->head.fields;
}

struct weir_source *weir_part_body(struct weir_part *part)
{
    weir_check(part, WEIR__PART_MAGIC);
    return &part->body;
}

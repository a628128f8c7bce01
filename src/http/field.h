/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_FIELD_H
#define WEIR_HTTP_FIELD_H

#include <weir/fields.h>

#define weir__field weir_field

#endif

/* SPDX-License-Identifier: MIT */
/* Plays cases over wires, and says which differ. */
#include "parity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct parity_wire *const parity_wires[] = {&parity_memory, &parity_h1};

bool parity_is_framing(struct weir_view name)
{
    static const char *const framing[] = {"content-length", "transfer-encoding", "connection",
                                          "keep-alive", "date"};

    for (size_t i = 0; i < sizeof(framing) / sizeof(framing[0]); i++) {
        if (weir_view_equal_nocase(name, weir_str(framing[i]))) {
            return true;
        }
    }
    return false;
}

void parity_check(const struct parity_case *cases, size_t count)
{
    static char text[PARITY_BYTES];
    int wrong = 0;

    for (size_t i = 0; i < count; i++) {
        for (size_t wire = 0; wire < sizeof(parity_wires) / sizeof(parity_wires[0]); wire++) {
            if (cases[i].reset != NULL) {
                cases[i].reset();
            }
            parity_wires[wire]->play(&cases[i], text, sizeof(text));
            if (strcmp(text, cases[i].expect) != 0) {
                print_error("%s over %s:\n--- expected\n%s--- got\n%s---\n", cases[i].name,
                            parity_wires[wire]->name, cases[i].expect, text);
                wrong++;
            }
        }
    }
    assert_int_equal(wrong, 0);
}

// SPDX-License-Identifier: MIT
// A user's program in C++ against the installed library: references in smart pointers, a handler that is a lambda.
#include <weir/test.h>
#include <weir/weir.h>

#include <cstdio>
#include <memory>
#include <string>

struct drop {
    void operator()(weir_sink *sink) const { weir_sink_destroy(sink); }
    void operator()(weir_test *test) const { weir_test_destroy(test); }
};

int main()
{
    std::string name = "world";
    weir_handler_fn *handler = [](weir_req *req, void *arg) -> int {
        const std::string text = "hello " + *static_cast<std::string *>(arg);
        weir_sink *out = nullptr;
        int r = weir_stream_begin(req, 200, nullptr, text.size(), &out);
        std::unique_ptr<weir_sink, drop> owned(out);

        if (r == 0) {
            r = weir_emit_bytes(out, weir_bytes(text.data(), text.size()), -1);
        }
        return r == 0 ? weir_end(out, nullptr) : r;
    };
    weir_test *test = nullptr;
    struct weir_test_result result = {}; // there is a call of that name, hence `struct`

    if (weir_test_run(handler, &name, nullptr, &test) != 0) {
        return 1;
    }
    std::unique_ptr<weir_test, drop> owned(test);
    weir_test_result(test, &result);
    if (result.outcome != WEIR_TEST_COMPLETE || !weir_view_equal(weir_test_body(test), weir_str("hello world"))) {
        return 1;
    }
    std::puts("C++: fine");
    return 0;
}

# SPDX-License-Identifier: MIT
#
# The steps of ./check, one function each, run from the root of the tree in a process of its own with output to a log.
# A step reports with `counted`, and fails by its exit status. Set by ./check: $step, $counts, $reports.

plain_steps=(layers banned words format headers release symbols install docs e2e asan e2e-asan corpus)
slow_steps=(tsan e2e-tsan valgrind failalloc properties clang-release gcc-asan docs-asan deb fuzz demo)

# counted PASSED FAILED [NOTE]: adds to what the step has counted.
counted() {
    echo "$*" >>"$counts"
}

# One thing looked at: runs the command, counts 1.
lint() {
    if "$@"; then
        counted 1 0
    else
        counted 0 1
    fi
}

nothing() {
    counted 0 0 "nothing to run yet: $*"
}

# limit SECONDS COMMAND...: no step waits for ever. The command is a program, run under ${prefix[@]}.
prefix=()
limit() {
    local seconds=$1 rc
    shift

    # In the background, for a trap waits for a program in the foreground.
    timeout -k 10 "$seconds" "${prefix[@]}" "$@" <&0 &
    trap "kill $!" TERM
    wait $!
    rc=$?
    trap - TERM
    [ $rc -ne 124 ] || echo "time limit of $seconds s reached"
    [ $rc -le 128 ] || echo "$1 ended by signal $((rc - 128))"
    return $rc
}

# From here on sanitizers report into files, so that what a test does not look at (a server's stderr, its exit status)
# is seen by no_reports.
watch_sanitizers() {
    local log="log_path=$reports/report"

    export ASAN_OPTIONS="$log:detect_leaks=1" LSAN_OPTIONS="$log" TSAN_OPTIONS="$log:second_deadlock_stack=1"
    export UBSAN_OPTIONS="$log:print_stacktrace=1:halt_on_error=1"
    without_aslr
}

# The sanitizers of clang 14 do not know the memory layouts of newer kernels.
without_aslr() {
    if setarch --addr-no-randomize true 2>/dev/null; then
        prefix=(setarch --addr-no-randomize)
    fi
}

# Fails when a sanitizer has reported anything; the reports go into the log.
no_reports() {
    local found
    found=$(find "$reports" -type f -size +0 | wc -l)

    [ "$found" -ne 0 ] || return 0
    find "$reports" -type f -size +0 -exec sh -c 'echo "== $1"; head -n 60 "$1"' - {} \;
    counted 0 "$found" "sanitizer reports: $found"
    return 1
}

# units BUILD [MESON-TEST-OPTION...]: the tests of meson, counted by their cmocka cases.
units() {
    local build=$1 log="build/$1/meson-logs/testlog.json" rc numbers p f s
    shift

    rm -f "build/$build"/meson-logs/testlog*.json
    limit 900 meson test -C "build/$build" --no-rebuild "$@"
    rc=$?
    # With a wrapper (valgrind) the log is named after it.
    [ -f "$log" ] || log=$(find "build/$build/meson-logs" -name 'testlog*.json' | head -n 1)
    if [ ! -s "${log:-/none}" ]; then
        [ $rc -ne 0 ] || nothing "no such unit tests"
        return $rc
    fi
    numbers=$(scripts/count-tests meson "$log") || return 1
    read -r p f s <<<"$numbers"
    tail -n +2 <<<"$numbers"
    [ "$s" = 0 ] && s='' || s="$s skipped"
    counted "$p" "$f" "$s"
    return $rc
}

# end_to_end BUILD [PYTEST-OPTION...]
end_to_end() {
    local build=$1 xml="$PWD/build/check/$step.xml" rc numbers p f s
    shift

    if [ -z "$(find tests/e2e -name 'test_*.py' 2>/dev/null | head -n 1)" ]; then
        nothing "tests/e2e is empty"
        return 0
    fi
    rm -f "$xml"
    WEIR_BUILD="$PWD/build/$build" limit 900 /usr/bin/python3 -m pytest tests/e2e -q -p no:cacheprovider \
        --junitxml="$xml" "$@"
    rc=$?
    if [ $rc = 5 ]; then
        nothing "pytest found no tests"
        return 0
    fi
    [ -s "$xml" ] || return 1
    numbers=$(scripts/count-tests pytest "$xml") || return 1
    read -r p f s <<<"$numbers"
    tail -n +2 <<<"$numbers"
    [ "$s" = 0 ] && s='' || s="$s skipped"
    counted "$p" "$f" "$s"
    return $rc
}

# Builds the fuzz targets only, and prints their paths.
fuzz_targets() {
    local targets

    build fuzz build.ninja >&2 || return 1
    mapfile -t targets < <(ninja -C build/fuzz -t targets all | sed -n 's/^\(fuzz\/[^:]*\): c_LINKER.*/\1/p')
    [ ${#targets[@]} -gt 0 ] || return 0
    build fuzz "${targets[@]}" >&2 || return 1
    printf 'build/fuzz/%s\n' "${targets[@]}"
}

# The seeds of a target: fuzz/corpus/<target>/, with or without the prefix "fuzz_".
corpus_of() {
    local name=${1##*/}

    for name in "$name" "${name#fuzz[_-]}"; do
        if [ -d "fuzz/corpus/$name" ]; then
            echo "fuzz/corpus/$name"
            return 0
        fi
    done
    return 1
}

# --- what every change must pass ---

step_layers() { lint scripts/check-layers; }
step_banned() { lint scripts/check-banned; }
step_words() { lint scripts/check-words; }

step_format() {
    local tool=''

    for candidate in clang-format-14 clang-format; do
        if "$candidate" --version 2>/dev/null | grep -q 'version 14\.'; then
            tool=$candidate
            break
        fi
    done
    if [ -z "$tool" ]; then
        counted 0 0 'SKIPPED: clang-format 14, the one version whose form counts, is not on this machine'
        return 0
    fi
    lint sh -c 'find src include gateway cli examples tests fuzz bench -name "*.[ch]" -print0 |
        xargs -0 -r "$1" --dry-run -Werror' - "$tool"
}

# Each public header stands alone, twice over, in strict C17 and in C++17.
step_headers() {
    local bad=0 header source

    source=$(mktemp -d)
    while read -r header; do
        printf '#include <%s>\n#include <%s>\nextern int alone;\n' "${header#include/}" "${header#include/}" >"$source/alone.c"
        cp "$source/alone.c" "$source/alone.cc"
        gcc -std=c17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude "$source/alone.c" || bad=1
        g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude "$source/alone.cc" || bad=1
    done < <(find include/weir -name '*.h' | sort)
    rm -rf "$source"
    lint [ $bad -eq 0 ]
    lint umbrella_has_all
}

# The umbrella has every public header but itself, the test kit's and the experimental ones.
umbrella_has_all() {
    local bad=0 header

    for header in include/weir/*.h; do
        case "${header##*/}" in weir.h | test.h) continue ;; esac
        if ! grep -qxF "#include <weir/${header##*/}>" include/weir/weir.h; then
            echo "include/weir/weir.h does not include <weir/${header##*/}>"
            bad=1
        fi
    done
    return $bad
}

step_release() {
    build release || return 1
    units release --no-suite failalloc
}

exported() {
    local names strange

    names=$(nm -D --defined-only "$1" | awk '{print $NF}') || return 1
    strange=$(grep -vE '^weir_[^_]' <<<"$names")
    echo "$(wc -l <<<"$names") symbols exported"
    [ -n "$names" ] && [ -z "$strange" ] && return 0
    echo "exported, but not by the name of a public call:"
    echo "$strange"
    return 1
}

step_symbols() {
    build release || return 1
    lint exported build/release/libweir.so
}

# Installs into a new prefix, and builds small projects of a user's against that.
step_install() {
    build release || return 1
    lint tests/install/run build/release
}

# What the documents show compiles against the library and does what they say, and equals the examples it is taken from;
# every call has its page.
step_docs() {
    build release || return 1
    lint limit 300 scripts/check-docs build/release
    lint scripts/reference --check build/release
}

step_e2e() {
    build release || return 1
    end_to_end release
}

# sanitized BUILD COMMAND...: COMMAND (units or end_to_end) in a sanitizer build; any report is a failure.
sanitized() {
    local rc=0
    build "$1" || return 1
    watch_sanitizers
    "${@:2}" || rc=1
    no_reports || rc=1
    return $rc
}

step_asan() { sanitized asan units asan --no-suite failalloc; }

step_e2e_asan() {
    if [ "$all" = yes ]; then
        sanitized asan end_to_end asan
    else
        sanitized asan end_to_end asan -m 'not slow'
    fi
}

# Replays what the fuzzers and their authors have kept, file by file.
step_corpus() {
    local target corpus targets bad=0

    targets=$(fuzz_targets) || return 1
    [ -n "$targets" ] || { nothing "no fuzz targets"; return 0; }
    without_aslr
    export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    for target in $targets; do
        corpus=$(corpus_of "$target") || { counted 0 0 "no corpus for ${target##*/}"; continue; }
        find "$corpus" -type f -print0 | limit 120 xargs -0 -r "$target" -timeout=10 || bad=1
        lint [ $bad -eq 0 ]
        bad=0
    done
}

# --- what --all adds ---

step_tsan() { sanitized tsan units tsan --no-suite failalloc --timeout-multiplier 4; }

# Without what is a matter of bytes, not of threads, and without crowds that its slowness stretches.
step_e2e_tsan() {
    sanitized tsan end_to_end tsan -m 'not slow' \
        -k 'not test_vectors and not many_slow and not 500_clients and not storm'
}

step_valgrind() {
    build debug || return 1
    units debug --no-suite failalloc --no-suite novalgrind --timeout-multiplier 10 --wrapper \
        'valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect --fair-sched=yes'
}

# Each test there runs its subject again and again, failing the first, the second, ... allocation.
step_failalloc() { sanitized asan units asan --suite failalloc --timeout-multiplier 4; }

# The laws of streams by many more random programs than in every check, with the checks of a debug build but no sanitizer.
step_properties() {
    build debug || return 1
    WEIR_PROGRAMS=50000 units debug --suite properties --timeout-multiplier 10
}

step_clang_release() {
    build clang-release || return 1
    units clang-release --no-suite failalloc
}

step_gcc_asan() { sanitized gcc-asan units gcc-asan --no-suite failalloc; }

# The programs of the documents with the sanitizer: a report, a leak too, is an exit status that is not 0.
step_docs_asan() {
    build asan || return 1
    lint limit 600 scripts/check-docs build/asan
}

# The Debian packages, from a copy of the tree.
step_deb() { lint limit 600 scripts/check-deb; }

# Each fuzzer for a minute, two at a time. Finds are left in build/check/fuzz-finds/.
step_fuzz() {
    local target targets name seconds=${WEIR_FUZZ_SECONDS:-60} finds=build/check/fuzz-finds

    targets=$(fuzz_targets) || return 1
    [ -n "$targets" ] || { nothing "no fuzz targets"; return 0; }
    without_aslr
    export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    mkdir -p "$finds"
    for target in $targets; do
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
            wait -n
        done
        name=${target##*/}
        mkdir -p "build/check/fuzz-corpus/$name"
        (
            # shellcheck disable=SC2046 # one word or none
            limit $((seconds + 60)) "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
                -print_final_stats=1 -artifact_prefix="$finds/$name-" "build/check/fuzz-corpus/$name" \
                $(corpus_of "$target") >"build/check/fuzz-$name.log" 2>&1
            echo $? >"build/check/fuzz-$name.rc"
        ) &
    done
    wait
    for target in $targets; do
        name=${target##*/}
        echo "== $name"
        tail -n 30 "build/check/fuzz-$name.log"
        lint [ "$(cat "build/check/fuzz-$name.rc")" = 0 ]
    done
}

step_demo() {
    [ -x demo ] || { nothing "there is no ./demo"; return 0; }
    lint limit 300 ./demo --once
}

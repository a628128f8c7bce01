# SPDX-License-Identifier: MIT
#
# Build directories, shared by ./check and ./demo. Source it from the root of the tree (bash).

# Prints compiler and meson options of a named build directory.
build_options() {
    local debug="-Dbuildtype=debugoptimized -Ddebug_checks=true"
    local sanitize="$debug -Db_lundef=false -Db_sanitize"

    case "$1" in
    release) echo "gcc -Db_lto=true" ;; # the accessors between the layers cost nothing any more
    asan) echo "clang $sanitize=address,undefined" ;;
    tsan) echo "clang $sanitize=thread" ;;
    debug) echo "gcc $debug" ;;
    clang-release) echo "clang" ;;
    # gcc's warnings lose their precision in instrumented code; the release build has them all.
    gcc-asan) echo "gcc $sanitize=address,undefined -Dwerror=false" ;;
    fuzz) echo "clang $sanitize=address,undefined -Dfuzz=true -Dtests=false -Dc_args=-fsanitize=fuzzer-no-link" ;;
    *)
        echo "no build is called $1" >&2
        return 1
        ;;
    esac
}

# Which of the libraries are here that only examples need; those examples are left out without them.
optional_libraries() {
    local library

    for library in jansson sqlite3; do
        ! pkg-config --exists "$library" || echo "$library"
    done
}

# build NAME [TARGET...]: brings build/NAME up to date; configures it anew when its options have changed.
build() {
    local name=$1 options optional compiler stamp="build/$1/options-of-build" found="build/$1/optional-of-build"
    shift

    options=$(build_options "$name") || return 1
    optional=$(optional_libraries)
    compiler=${options%% *}
    if [ ! -f "build/$name/build.ninja" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$options" ]; then
        rm -rf "build/$name"
        mkdir -p build
        # shellcheck disable=SC2086 # options are words
        env -u CFLAGS -u CPPFLAGS -u LDFLAGS CC="$compiler" \
            meson setup "build/$name" $(printf '%s' "${options#"$compiler"}") || return 1
        echo "$options" >"$stamp"
    elif [ "$(cat "$found" 2>/dev/null)" != "$optional" ]; then
        meson setup --reconfigure "build/$name" || return 1
    fi
    echo "$optional" >"$found"
    ninja -C "build/$name" "$@"
}

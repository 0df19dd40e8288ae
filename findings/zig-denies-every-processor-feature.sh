#!/usr/bin/env bash
# ziglang 0.17.1: __builtin_cpu_supports() is false for everything in programs that zig links.
#
# One would expect: what clang and GCC give, namely what the processor that runs the program has; zig's compiler is clang,
# and the program compiles and links without a word.
# What happens: the table that the builtin reads lies in zig's own runtime library and is never filled in, also after
# __builtin_cpu_init(). Programs that choose their kernels by it run the slowest ones, on any machine.
#
# Output seen (on x86-64):
#   sse2 by the builtin: 0, by CPUID: 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1
cat > "$folder/ask.cpp" <<'CPP'
#include <cpuid.h>
#include <cstdio>

int main() {
    __builtin_cpu_init();
    unsigned a = 0, b = 0, c = 0, d = 0;
    __get_cpuid(1, &a, &b, &c, &d);
    std::printf("sse2 by the builtin: %d, by CPUID: %u\n", __builtin_cpu_supports("sse2") != 0, d >> 26 & 1);
}
CPP
ZIG_GLOBAL_CACHE_DIR="$folder/cache" "$folder/python/bin/python" -m ziglang c++ -target x86_64-linux-gnu.2.28 -O2 \
    "$folder/ask.cpp" -o "$folder/ask"
"$folder/ask" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
sse2 by the builtin: 0, by CPUID: 1
SEEN

#!/bin/sh
# The stress program with the C module built for AddressSanitizer: asan.sh PYTHON SECONDS
#
# SIGSEGV and its kin stay Julia's, whose collector works with them. libasan's warning about
# __asan_handle_no_return is for Julia's tasks, which have stacks of their own.
set -e
python=$(realpath -s "$1")
seconds=$2
here=$(realpath "$(dirname "$0")")
build=$here/../.venv/asan

rm -rf "$build"
mkdir -p "$build"
cp -r "$here/../bufferbridge" "$here/../csrc" "$here/../jlsrc" "$build"
rm -f "$build"/bufferbridge/_native*.so
cd "$build"
CFLAGS="-fsanitize=address -g -fno-omit-frame-pointer" LDFLAGS="-fsanitize=address" "$python" csrc/build_native.py > log
gcc -shared -fPIC -O2 -o asan.so "$here/asan.c"

export PYTHONPATH="$build" PYTHONMALLOC=malloc
export ASAN_OPTIONS=verify_asan_link_order=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:\
allow_user_segv_handler=1:use_sigaltstack=0:detect_leaks=0:exitcode=77
preload="$build/asan.so $(gcc -print-file-name=libasan.so)"
for threads in "1 1" "4 1" "1 2" "4 2"; do
    set -- $threads
    env LD_PRELOAD="$preload" "$python" "$here/stress.py" --seconds $((seconds / 4)) --threads "$1" --julia-threads "$2"
done

#!/bin/sh
# The suite on every Python that is here, each in an environment of its own (.venv-3.12): pythons.sh [PYTEST'S ARGUMENTS]
#
# Looked for are python3.9 to python3.14 and the free-threaded python3.14t, on PATH and among pyenv's. PYTHONS names those to
# take instead. One line a Python; what its run has said is in .venv-3.12/log. A Python that is missing is no failure.
cd "$(dirname "$0")/.." || exit 1
failed=0

# Prints the first one that runs: what pyenv puts on PATH does so only for some versions.
find_python() {
    number=${1%t}
    for python in "$(command -v "python$1")" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$number".*/bin/"python$1"; do
        if [ -x "$python" ] && "$python" -c "" 2> /dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

if [ "$1" = --find ]; then # prints where the Python of that version is
    find_python "$2"
    exit
fi
for version in ${PYTHONS:-3.9 3.10 3.11 3.12 3.13 3.14 3.14t}; do
    if ! python=$(find_python "$version"); then
        printf '%-6s skipped: there is no python%s\n' "$version" "$version"
        continue
    fi
    venv=.venv-$version
    mkdir -p "$venv"
    case $version in # says in every process that the GIL is enabled again; tests look at what is printed
        *t) export PYTHONWARNINGS="ignore:The global interpreter lock:RuntimeWarning" ;;
        *) unset PYTHONWARNINGS ;;
    esac
    if ${MAKE:-make} --no-print-directory test VENV="$venv" PYTHON="$python" EXTRAS=julia,test TESTS="$*" > "$venv/log" 2>&1; then
        result=passed
    else
        result=FAILED
        failed=1
    fi
    printf '%-6s %s: %s (%s)\n' "$version" "$result" "$(tail -n 1 "$venv/log" | tr -d =)" "$venv/log"
done
exit $failed

#!/bin/sh
# Makes .venv with what a verb needs: bootstrap.sh auto|control|local|dev
#
# Starts from python3 alone. Debian keeps ensurepip and pip in packages of their own, hence the several ways to an
# environment. Each requirements file that is installed leaves a stamp with its hash: the second time there is nothing
# to do. A higher level holds the lower ones.
set -eu

level=${1:-auto}
cd "$(dirname "$0")/../.."
venv=.venv
requirements=compose/requirements

say() { printf '%s\n' "$*" >&2; }
fail() { say "$1"; say "Next: $2"; exit 1; }

# An environment that works is added to and not made anew: a running stack lives in it.
works() { $venv/bin/python -c '' 2>/dev/null; }

docker_answers() {
    docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1
}

# As the verbs will choose: what is asked for, else what runs, else Docker if it answers.
if [ "$level" = auto ]; then
    if [ "${MODE:-}" = local ]; then level=local
    elif [ "${MODE:-}" = docker ]; then level=control
    elif grep -qs '"last": *"local"' .run/stack.json; then level=local
    elif docker_answers; then level=control
    else level=local
    fi
fi

case $level in
    control) holders="control local dev" ;;
    local) holders="local dev" ;;
    dev) holders=dev ;;
    *) fail "There is no level $level." "Use auto, control, local or dev." ;;
esac

# The tests rotate with the programs that do it on a server. Debian starts an nginx that it installs: not here.
install_test_programs() {
    missing=
    for program in logrotate:logrotate nginx:nginx-light; do
        PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "${program%:*}" >/dev/null 2>&1 || missing="$missing ${program#*:}"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        say "Missing for some tests:$missing. Next: sudo apt-get install$missing"
        return 0
    fi
    say "Installing Debian's$missing for the tests."
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] && policy= || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy; }
    # shellcheck disable=SC2086 -- a list of packages
    apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2 || true
    [ -z "$policy" ] || rm -f "$policy"
}
[ "$level" != dev ] || install_test_programs

for holder in $holders; do
    if works && sha256sum --check --status "$venv/stamp-$holder" 2>/dev/null; then
        exit 0
    fi
done

python=${PYTHON:-}
for candidate in python3 python3.13 python3.12 python3.11; do
    if [ -z "$python" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
    fi
done
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    fail "Python 3.11 or newer is needed; found: $(python3 --version 2>&1 || echo none)." \
        "Install one, or name it: make up PYTHON=/path/to/python3.12"
fi

has_ensurepip() { "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

install_with_pip() {
    works && $venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear $venv
    $venv/bin/python -m pip install --disable-pip-version-check --no-input --require-hashes -r "$requirements/$level.txt"
}

install_with_uv() { # $1: uv
    works || "$1" venv --quiet --clear --python "$(command -v "$python")" $venv
    "$1" pip install --python $venv/bin/python --require-hashes -r "$requirements/$level.txt"
}

# uv itself, pinned and hashed as the requirements name it.
install_with_fetched_uv() {
    folder=$(mktemp -d)
    awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' $requirements/dev.txt >"$folder/uv.txt"
    "$python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --target "$folder" \
        -r "$folder/uv.txt"
    install_with_uv "$folder/bin/uv"
    rm -rf "$folder"
}

install_venv_package() { # $1: "" or "sudo -n"
    say "This Python cannot make environments; installing Debian's python3-venv (${1:-as root})."
    $1 apt-get update -q >&2 && $1 env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv >&2
}

say "Installing Python packages for '$level' into $venv (once; a minute or so)."
rm -f "$venv/stamp-$level"
if has_ensurepip; then
    install_with_pip
elif command -v uv >/dev/null 2>&1; then
    install_with_uv uv
elif "$python" -m pip --version >/dev/null 2>&1; then
    install_with_fetched_uv
elif command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && install_venv_package "" && has_ensurepip; then
    install_with_pip
elif command -v apt-get >/dev/null 2>&1 && sudo -n true 2>/dev/null && install_venv_package "sudo -n" && has_ensurepip; then
    install_with_pip
else
    fail "$("$python" --version) cannot make environments here: neither ensurepip nor uv nor pip is there." \
        "sudo apt-get install python3-venv"
fi
sha256sum "$requirements/$level.txt" >"$venv/stamp-$level"

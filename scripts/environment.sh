# The environment of scripts/test and scripts/demo. Source it, then `prepare_environment [test|bench]`: afterwards .venv/ in the tree
# holds vnic with its compiled core, scapy, and, with `test`, what the tests and the checks need; with `bench`, what draws the plot, and
# another TAP library to compare with, if they can be had. A second run costs a second.
# Bash; the sourcing script has `set -euo pipefail`.

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$tree/.venv
wheels=$tree/build/wheels
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '%s\n' "$*" >&2; }

# Prints nothing if this interpreter can make the environment, else the one line that says what it lacks.
probe_python() {
    "$1" - <<'PYTHON' 2>/dev/null
import importlib.util, os, pathlib, shlex, shutil, subprocess, sys, sysconfig

name = "python{}.{}".format(*sys.version_info)
include = sysconfig.get_path("include")
compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
if sys.version_info < (3, 11):
    print(f"{sys.executable} is {name}, vnic needs 3.11 or newer: apt install python3.11 python3.11-venv python3.11-dev")
elif not importlib.util.find_spec("ensurepip") or not importlib.util.find_spec("venv"):
    print(f"{sys.executable} cannot make a virtual environment: apt install {name}-venv")
elif not shutil.which(compiler[0]):
    print(f"no C compiler ({compiler[0]}): apt install build-essential")
elif not pathlib.Path(include, "Python.h").exists():
    print(f"no Python.h for {sys.executable}: apt install {name}-dev")
elif subprocess.run([*compiler, f"-I{include}", "-xc", "-c", "-o/dev/null", "-"], input=b"#include <Python.h>", capture_output=True).returncode:
    print(f"{compiler[0]} cannot compile with Python.h, binutils or the headers of the C library are missing: apt install build-essential")
PYTHON
}

# Sets $python to the first interpreter that lacks nothing; exits 69 with the first complaint when there is none.
find_python() {
    local candidate lacks complaint=""
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        # A version manager's stub is found, but does not run: the probe then fails.
        command -v "$candidate" >/dev/null && lacks=$(probe_python "$candidate") || continue
        if [[ -z $lacks ]]; then
            python=$(command -v "$candidate")
            return
        fi
        complaint=${complaint:-$lacks}
    done
    say "${0##*/}: ${complaint:-no Python 3.11 or newer: apt install python3.11 python3.11-venv python3.11-dev}"
    exit 69
}

hash_of() { find "$@" -type f ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1; }

# What the tests measure vnic against: other people's programs.
install_oracles() {
    local missing=() entry
    for entry in ip:iproute2 ping:iputils-ping tcpdump:tcpdump tshark:tshark iperf3:iperf3 ethtool:ethtool nc:netcat-openbsd; do
        command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
    done
    ((${#missing[@]})) || return 0
    if [[ $EUID -eq 0 && -e /etc/debian_version ]]; then
        say "installing ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; } </dev/null >/dev/null 2>&1 && return 0
    fi
    say "without ${missing[*]} some tests are skipped: apt install ${missing[*]}"
}

# Builds and installs the compiled wheel if a source is newer than the installed one; a pure wheel is built beside it.
install_vnic() {
    local now
    now=$(hash_of "$tree"/{vnic,miniport,protocol,pyproject.toml,setup.py})
    [[ $(cat "$venv/installed" 2>/dev/null) == "$now" ]] && return
    say "building vnic"
    # What a former build left behind would end up in the wheel.
    rm -rf "$venv/installed" "$wheels" "$tree"/build/lib* "$tree"/build/bdist* "$tree"/vnic.egg-info
    local mode
    for mode in require pure; do
        (cd "$tree" && VNIC_BUILD=$mode "$venv/bin/python" -m pip wheel -q --no-deps --no-build-isolation -w "$wheels/$mode" .)
    done
    local wheel
    wheel=$(echo "$wheels"/require/vnic-*.whl)
    # First for what the wheel needs; then by force, because pip takes the same version for the same code.
    "$venv/bin/python" -m pip install -q "$wheel[traffic]"
    "$venv/bin/python" -m pip install -q --force-reinstall --no-deps "$wheel"
    echo "$now" >"$venv/installed"
}

prepare_environment() {
    local groups=(build) stamp
    [[ ${1:-} == test ]] && groups+=(test lint)
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        find_python
        say "making $venv with $python"
        "$python" -m venv --clear "$venv"
    fi
    stamp=$venv/dependencies-${1:-demo}
    if [[ $(cat "$stamp" 2>/dev/null) != "$(hash_of "$tree/pyproject.toml" "$tree/setup.py")" ]]; then
        say "installing the dependencies: ${groups[*]}"
        # The pip that comes with an older Python knows no dependency groups.
        "$venv/bin/python" -m pip install -q --upgrade 'pip>=25.1'
        (cd "$tree" && "$venv/bin/python" -m pip install -q "${groups[@]/#/--group=}")
        hash_of "$tree/pyproject.toml" "$tree/setup.py" >"$stamp"
    fi
    if [[ ${1:-} == bench ]] && ! "$venv/bin/python" -c 'import matplotlib, pytun' 2>/dev/null; then
        (cd "$tree" && "$venv/bin/python" -m pip install -q --group=bench) || say "without matplotlib no plot, without python-pytun no comparison"
    fi
    install_vnic
    [[ ${1:-} == test ]] && install_oracles
    return 0
}

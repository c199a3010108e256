#!/usr/bin/env bash
# install.sh - set edged up in .venv, then serve (run) or check (test); `./install.sh --help` says more.
#
# Idempotent: .venv/edged-stamp says what .venv was built from. While that holds, nothing is installed and no network is
# needed. Steps run behind a progress line; their output goes to .install.log, its end is shown when one fails.
set -euo pipefail
umask 022                   # a service user must be able to read .venv
unset PYTHONHOME PYTHONPATH # they would mix another interpreter's packages into .venv

root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
venv=$root/.venv
log=$root/.install.log
cache=${XDG_CACHE_HOME:-${HOME:-$root}/.cache}/edged
readonly root venv log cache
readonly llama_version=0.3.36
readonly cmake_args='-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF'

patient=''  # names the step that must not be killed half-way (dpkg)
building='' # fresh: .venv goes when the build fails; update: it stays, without its stamp
scratch=''  # build directory of llama.cpp
missing=()  # Debian packages that are not there
as_root=()  # what to put before a command that needs root
python=''   # the interpreter that .venv is made from

usage() {
  cat <<'TEXT'
usage: ./install.sh run [ARGUMENT...]    set edged up and serve on 127.0.0.1:8080, in the foreground
       ./install.sh test [ARGUMENT...]   set edged up for development and run every check
       ./install.sh --help

`run` passes its arguments to `edged run` (see `.venv/bin/edged run --help`), `test` to pytest.
Both may be repeated: what is already there is used, and then no network is needed.

PYTHON in the environment names another interpreter to build .venv from (default: /usr/bin/python3, else one on PATH).
TEXT
}

# --- steps with progress and clear failures --------------------------------------------------------------------------

say() { printf '%s\n' "install.sh: $*" >&2; }
die() { say "$@"; exit 1; }

child='' # process group of the step that is running, for whoever interrupts it

# step TEXT HINT COMMAND...: run COMMAND with its output in the log; HINT says what to do when it fails.
step() {
  local text=$1 hint=$2 started=$SECONDS code=0
  shift 2
  printf '\n=== %s\n' "$text" >>"$log"
  set -m # a process group of its own, so that an interruption reaches compilers too
  "$@" </dev/null >>"$log" 2>&1 &
  child=$!
  set +m
  show_progress "$text" "$started"
  wait "$child" || code=$?
  child=''
  if [[ $code != 0 ]]; then
    printf '%s' "$(line_start)" >&2
    say "failed: $text (after $((SECONDS - started)) s, exit code $code). The end of $log:"
    tail -n 20 "$log" | awk '/^=== / {text = ""; next} {text = text "    " $0 "\n"} END {printf "%s", text}' >&2
    die "what to do: $hint"
  fi
  printf '%s%s: done (%s s)\n' "$(line_start)" "$text" "$((SECONDS - started))" >&2
}

line_start() { if [[ -t 2 ]]; then printf '\r\033[K'; fi; }

# One moving line on a terminal; elsewhere a line at the start and one every 30 s.
show_progress() {
  local text=$1 started=$2 marks='-=#=' tick=0 next=30 seconds line
  [[ -t 2 ]] || printf '%s...\n' "$text" >&2
  while kill -0 "$child" 2>/dev/null; do
    seconds=$((SECONDS - started))
    if [[ -t 2 ]]; then
      line="${marks:tick++%4:1} $text ($seconds s$(compiled))"
      printf '%s%s' "$(line_start)" "${line:0:${COLUMNS:-80}-1}" >&2 # a wrapped line could not be overwritten
    elif ((seconds >= next)); then
      printf '%s: still at it (%s s%s)\n' "$text" "$seconds" "$(compiled)" >&2
      next=$((next + 30))
    fi
    sleep 0.5
  done
}

# How far ninja has come in this step, from the end of the log: ", file [37/140]".
compiled() {
  tail -c 20000 "$log" |
    awk '/^===/ {file = ""} /^ *\[[0-9]+\/[0-9]+\]/ {file = ", file " $1} END {printf "%s", file}'
}

# retried COMMAND...: three attempts, for what needs the network.
retried() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return
    ((attempt == 3)) || { echo "attempt $attempt failed, trying again in $((attempt * 5)) s" && sleep $((attempt * 5)); }
  done
  return 1
}

# --- endings --------------------------------------------------------------------------------------------------------

interrupted() {
  trap '' INT TERM HUP
  if [[ -n $patient ]]; then
    say "stopping when $patient is done"
  elif [[ -n $child ]]; then
    kill -TERM -- "-$child" 2>/dev/null || true
  fi
  [[ -z $child ]] || wait "$child" 2>/dev/null || true
  [[ $building != update ]] || building=fresh # pip was stopped half-way: what it left cannot be trusted
  say "interrupted"
  exit 130
}

clean_up() {
  [[ -z $scratch ]] || rm -rf "$scratch"
  case $building in
    fresh) rm -rf "$venv" ;;
    update) rm -f "$venv/edged-building" ;;
  esac
}

# --- what the machine has -------------------------------------------------------------------------------------------

# The system's interpreter first: one below a home directory cannot be read by a service user later.
find_python() {
  local candidate
  for candidate in ${PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11}; do
    python=$(command -v "$candidate") || continue
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
  done
  die "needs Python 3.11 or newer, found none (looked for: ${PYTHON:-/usr/bin/python3, python3, python3.13, python3.12, python3.11}).
  Debian 12, Ubuntu 24.04 and Raspberry Pi OS bookworm bring it: sudo apt-get install python3
  Another interpreter: PYTHON=/path/to/python3 ./install.sh"
}

find_missing_packages() {
  missing=()
  local tool
  for tool in "${CC:-cc}:gcc" "${CXX:-c++}:g++" cmake:cmake ninja:ninja-build pkg-config:pkg-config; do
    command -v "${tool%%[ :]*}" >/dev/null || missing+=("${tool##*:}")
  done
  pkg-config --exists libsystemd 2>/dev/null || missing+=(libsystemd-dev)
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  [[ -e $("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]] || missing+=(python3-dev)
}

become_root() {
  ((EUID != 0)) || return 0
  as_root=(sudo)
  sudo -n true 2>/dev/null || { [[ -t 0 ]] && command -v sudo >/dev/null && sudo -v; }
}

install_packages() {
  find_missing_packages
  [[ ${#missing[@]} -gt 0 ]] || return 0
  local by_hand="sudo apt-get install ${missing[*]}"
  command -v apt-get >/dev/null || die "needs these Debian packages, or what they are called here: ${missing[*]}"
  become_root || die "needs system packages and may not install them (neither root nor sudo). Please run: $by_hand"
  patient="apt-get"
  step "install system packages (${missing[*]})" "run by hand and look at its message: $by_hand" apt_get_install "${missing[@]}"
  patient=''
  find_missing_packages
  [[ ${#missing[@]} == 0 ]] ||
    die "still missing after apt-get: ${missing[*]} (for $python). Install them, or choose another interpreter with PYTHON="
}

apt_get_install() {
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300) # first boots upgrade
  retried "${apt[@]}" update || echo "package lists are not fresh; trying with those that are there"
  retried "${apt[@]}" install -y --no-install-recommends "$@"
}

cpu_flags() { grep -m 1 -E '^(flags|Features)' /proc/cpuinfo | tr ' ' '\n' | sort -u || true; }
digest() { sha256sum | cut -c 1-16; }

# What a virtual environment is tied to: its place, the architecture and the interpreter's binary interface.
base_of() {
  local tag
  tag=$("$1" -c 'import sys; print(sys.implementation.cache_tag)' 2>/dev/null) || return 1
  { echo "$root"; uname -m; echo "$tag"; } | digest
}

# What the installed packages were made from.
stamp_of() {
  local base
  base=$(base_of "$1") || return 1
  { echo "$base"; cpu_flags; cat "$root"/{pyproject.toml,install.sh,edged/runner/lazymap.c}; } | digest
}

# What a build of llama.cpp is tied to: another CPU must not get this one's instructions.
llama_key() {
  # shellcheck disable=SC2086 # CXX may be "ccache g++"
  { echo "$llama_version $cmake_args"; uname -m; cpu_flags; ${CXX:-c++} --version; } | digest
}

# --- the environment ------------------------------------------------------------------------------------------------

# set_up EXTRAS: make .venv current, with the extras 'run' (none) or 'dev'.
set_up() {
  exec 9<"$root"
  flock -n 9 || { say "another install.sh is at work in $root: waiting for it" && flock 9; }
  is_current "$1" || install_all "$1"
  exec 9<&- # the daemon must not hold the lock
}

is_current() {
  local stamp extras
  [[ ! -e $venv/edged-building ]] || return 1
  read -r stamp extras 2>/dev/null <"$venv/edged-stamp" || return 1
  [[ $extras == dev || $extras == "$1" ]] && [[ $stamp == "$(stamp_of "$venv/bin/python")" ]]
}

install_all() {
  if [[ ! -w $root || (-e $venv && ! -w $venv) ]]; then
    die "$(id -un) cannot write to $root. Give it to this user: sudo chown -R $(id -un) $root"
  fi
  : >"$log"
  find_python
  install_packages
  open_venv
  install_llama
  local target=$root
  [[ $1 == run ]] || target+="[$1]"
  step "install edged and what it needs" "check the network (pip's index and proxy settings apply) and try again" \
    install_edged "$target"
  step "check that llama.cpp starts here" "delete $cache/wheels and try again: llama.cpp is then built anew" \
    "$venv/bin/python" -c 'import llama_cpp, msgspec, systemd.daemon'
  sync -f "$venv" # a power cut must not leave a stamp over files that never reached the disk
  echo "$(stamp_of "$venv/bin/python") $1" >"$venv/edged-stamp"
  rm "$venv/edged-building"
  building=''
}

# Compiled now: a service user may not write beside the sources, and would compile them at every start.
install_edged() {
  retried "$venv/bin/python" -m pip install --editable "$1"
  "$venv/bin/python" -m compileall -q "$root/edged"
}

# Leaves .venv marked as being built: a build that was killed is thrown away by the next run.
open_venv() {
  local base
  if [[ ! -e $venv/edged-building ]] && base=$(cat "$venv/edged-base" 2>/dev/null) &&
    [[ $base == "$(base_of "$venv/bin/python")" ]]; then
    building=update
    touch "$venv/edged-building"
    rm -f "$venv/edged-stamp"
    return
  fi
  if [[ -e $venv && ! -e $venv/edged-building && ! -e $venv/edged-base && -n $(ls -A "$venv") ]]; then
    die "$venv was not made by install.sh. Move it away (mv .venv .venv.old) and try again"
  fi
  building=fresh
  rm -rf "$venv"
  mkdir "$venv"
  touch "$venv/edged-building"
  step "make .venv from $python" "look at the message above; python3-venv must belong to $python" "$python" -m venv "$venv"
  base_of "$venv/bin/python" >"$venv/edged-base"
}

install_llama() {
  local key wheel
  key=$(llama_key)
  [[ $key != "$(cat "$venv/edged-llama" 2>/dev/null)" ]] || return 0
  mkdir -p "$cache/wheels"
  exec 8<"$cache"
  flock -n 8 || { say "llama.cpp is being built for another clone: waiting for it" && flock 8; }
  rm -rf "$cache"/build.* # of builds that were killed: the lock says that none is alive
  compgen -G "$cache/wheels/$key/*.whl" >/dev/null || build_llama "$cache/wheels/$key"
  exec 8<&-
  wheel=$(compgen -G "$cache/wheels/$key/*.whl")
  step "install llama.cpp" "delete $cache/wheels and try again" \
    "$venv/bin/python" -m pip install --force-reinstall --no-deps "$wheel"
  echo "$key" >"$venv/edged-llama"
}

# build_llama DIRECTORY: a wheel for this CPU, moved there whole. Built beside the cache because /tmp is often in RAM.
build_llama() {
  scratch=$(mktemp -d "$cache/build.XXXXXX")
  local pip=(env TMPDIR="$scratch" CMAKE_ARGS="$cmake_args" CMAKE_BUILD_PARALLEL_LEVEL="$(build_jobs)"
    "$venv/bin/python" -m pip)
  step "fetch llama-cpp-python $llama_version (77 MB)" "check the network and try again" retried \
    "${pip[@]}" download --no-deps --no-cache-dir --no-binary llama-cpp-python -d "$scratch" "llama-cpp-python==$llama_version"
  say "building llama.cpp takes minutes, on a small board up to an hour; it is done once per machine"
  step "build llama.cpp for this CPU" \
    "look for the first error in $log; the build needs 0.5 GB of disk in $cache and 1 GB of memory, swap included" \
    "${pip[@]}" wheel -v --no-deps --no-cache-dir -w "$scratch/wheel" "$scratch"/llama_cpp_python-*.tar.gz
  sync -f "$scratch"
  mv -T "$scratch/wheel" "$1"
  rm -rf "$scratch"
  scratch=''
}

# One compiler per core, and no more than one per GB of memory that is free: a build that swaps never ends.
build_jobs() {
  local cores free
  cores=$(nproc)
  free=$(awk '/^MemAvailable:/ {print int($2 / 1000000)}' /proc/meminfo)
  echo $((free < 1 ? 1 : free < cores ? free : cores))
}

# --- verbs ----------------------------------------------------------------------------------------------------------

serve() {
  set_up run
  local config=$root/config/edged.yaml
  # whoever brings a configuration brings its models, too
  [[ " $* " == *" --config"[=\ ]* ]] || "$venv/bin/edged" pull --no-verify --config "$config" minilm smollm2
  exec "$venv/bin/edged" run --config "$config" "$@"
}

check() {
  set_up dev
  cd "$root"
  local failed=()
  if command -v shellcheck >/dev/null; then
    shellcheck install.sh .ci/run || failed+=(shellcheck)
  else
    say "the shell scripts are not checked: shellcheck is missing (sudo apt-get install shellcheck)"
  fi
  "$venv/bin/ruff" check . || failed+=("ruff check")
  "$venv/bin/ruff" format --check . || failed+=("ruff format")
  "$venv/bin/mypy" || failed+=(mypy)
  "$venv/bin/pytest" "$@" || failed+=(pytest)
  [[ ${#failed[@]} == 0 ]] || die "failed: ${failed[*]}"
  say "all checks passed"
}

main() {
  trap interrupted INT TERM HUP
  trap clean_up EXIT
  local verb=${1:-}
  case $verb in
    run) shift && serve "$@" ;;
    test) shift && check "$@" ;;
    -h | --help) usage ;;
    '') usage && exit 2 ;;
    *) say "unknown verb: $verb" && usage >&2 && exit 2 ;;
  esac
}

main "$@"

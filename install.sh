#!/usr/bin/env bash
# install.sh - edged as a systemd service (below /opt/edged), or from this clone (in .venv); `./install.sh --help` says more.
#
# Idempotent: an environment's edged-stamp says what it was built from. While that holds, nothing is installed and no
# network is needed. Interrupted anywhere, the next run completes what is missing. Steps run behind a progress line;
# their output goes to a log, whose end is shown when one fails.
set -euo pipefail
umask 022                   # the service's user must be able to read what is installed
unset PYTHONHOME PYTHONPATH # they would mix another interpreter's packages into the environment

root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
user_cache=${XDG_CACHE_HOME:-${HOME:-$root}/.cache}/edged
readonly root user_cache
venv=$root/.venv  # the environment that is built or used
log=$root/.install.log
cache=$user_cache # where llama.cpp is built and kept
readonly llama_version=0.3.36
readonly cmake_args='-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF'

readonly home=/opt/edged state=/var/lib/edged config_dir=/etc/edged command=/usr/local/bin/edged
readonly unit_dir=/etc/systemd/system catalog=/usr/local/lib/systemd/catalog/edged.catalog
readonly ready_timeout_s=${READY_TIMEOUT_S:-300}

patient=''   # names the step that must not be killed half-way (dpkg)
building=''  # fresh: the environment goes when the build fails; update: it stays, without its stamp
scratch=''   # build directory of llama.cpp
missing=()   # Debian packages that are not there
installed=() # those that were installed now
as_root=()   # what to put before a command that needs root
python=''    # the interpreter that the environment is made from
unfit=()     # folders whose interpreters will not do
wheels=''    # a folder to install from instead of the network

usage() {
  cat <<'TEXT'
usage: sudo ./install.sh [service]          install edged as a systemd service, start it, and say where it answers
       sudo ./install.sh upgrade            replace an installed service by this version; if it does not become ready,
                                            the old one serves on
       sudo ./install.sh uninstall [--purge]  remove it; configuration and models stay, unless --purge is given
       ./install.sh status                  what is installed, and whether it is ready
       ./install.sh run [ARGUMENT...]       set edged up in .venv and serve on 127.0.0.1:8080, in the foreground
       ./install.sh test [ARGUMENT...]      set edged up for development and run every check
       ./install.sh --help

`run` passes its arguments to `edged run` (see `.venv/bin/edged run --help`), `test` to pytest.
All may be repeated: what is already there is used, and then no network is needed.

`service` and `upgrade` take --wheels DIR: install from the wheels in DIR, without a network. On a machine of the same
kind that has one, after `./install.sh run`, this makes such a folder:
    .venv/bin/python -m pip wheel --use-pep517 --wheel-dir DIR . ~/.cache/edged/wheels/*/*.whl
    cp -r ~/.local/share/edged/models/. DIR

The service: /opt/edged (versions), /etc/edged (configuration), /var/lib/edged (models and what edged learns).

In the environment, PYTHON names another interpreter to build from (default: /usr/bin/python3, else one on PATH), and
READY_TIMEOUT_S how long the service may take to become ready (default: 300).
TEXT
}

# --- steps with progress and clear failures --------------------------------------------------------------------------

say() { printf '%s\n' "install.sh: $*" >&2; }
die() { say "$@"; exit 1; }
refuse() { say "$@"; usage >&2; exit 2; }

child=''  # process group of the step that is running, for whoever interrupts it
outcome=0 # exit code of the last step

# step TEXT HINT COMMAND...: run COMMAND with its output in the log; HINT says what to do when it fails.
step() {
  local hint=$2
  attempt "$1" "${@:3}"
  [[ $outcome == 0 ]] || die "what to do: $hint"
}

# attempt TEXT COMMAND...: the same, for failures that are not the end: the exit code is in `outcome`, because `set -e`
# would not hold inside COMMAND if this were called in a condition.
attempt() {
  local text=$1 started=$SECONDS
  shift
  outcome=0
  printf '\n=== %s\n' "$text" >>"$log"
  set -m # a process group of its own, so that an interruption reaches compilers too
  "$@" </dev/null >>"$log" 2>&1 &
  child=$!
  set +m
  show_progress "$text" "$started"
  wait "$child" || outcome=$?
  child=''
  if [[ $outcome != 0 ]]; then
    printf '%s' "$(line_start)" >&2
    say "failed: $text (after $((SECONDS - started)) s, exit code $outcome). The end of $log:"
    tail -n 20 "$log" | awk '/^=== / {text = ""; next} {text = text "    " $0 "\n"} END {printf "%s", text}' >&2
    return
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
      line="${marks:tick++%4:1} $text ($seconds s$(how_far))"
      printf '%s%s' "$(line_start)" "${line:0:${COLUMNS:-80}-1}" >&2 # a wrapped line could not be overwritten
    elif ((seconds >= next)); then
      printf '%s: still at it (%s s%s)\n' "$text" "$seconds" "$(how_far)" >&2
      next=$((next + 30))
    fi
    sleep 0.5
  done
}

# How far this step has come, from the end of the log: ", file [37/140]", ", 12.3 of 98.4 MB", ", loading smollm2".
how_far() {
  tail -c 20000 "$log" | awk '
    /^===/ {far = ""}
    /^ *\[[0-9]+\/[0-9]+\]/ {far = ", file " $1}
    / of [0-9.]+ MB$/ {far = ", " $(NF - 3) " of " $(NF - 1) " MB"}
    sub(/^status: /, "") {far = ", " $0}
    END {printf "%s", far}'
}

# retried COMMAND...: three attempts, for what needs the network.
retried() {
  [[ -z $wheels ]] || { "$@"; return; }
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
    fresh) discard_venv ;;
    update) rm -f "$venv/edged-building" ;;
  esac
}

# --- what the machine has -------------------------------------------------------------------------------------------

# The system's interpreter first: one below a home directory cannot be read by a service user later.
find_python() {
  local candidate
  for candidate in ${PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11}; do
    python=$(command -v "$candidate") || continue
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.base_prefix.startswith(tuple(sys.argv[1:])))' \
      "${unfit[@]}" 2>/dev/null && return
  done
  die "needs Python 3.11 or newer${unfit[0]:+ that a service may read (not below ${unfit[*]})}, found none (looked for: \
${PYTHON:-/usr/bin/python3, python3, python3.13, python3.12, python3.11}).
  Debian 12, Ubuntu 24.04 and Raspberry Pi OS bookworm bring it: sudo apt-get install python3
  Another interpreter: PYTHON=/path/to/python3 ./install.sh"
}

find_missing_packages() {
  missing=()
  local tool
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  [[ -z $wheels ]] || return 0
  for tool in "${CC:-cc}:gcc" "${CXX:-c++}:g++" cmake:cmake ninja:ninja-build pkg-config:pkg-config; do
    command -v "${tool%%[ :]*}" >/dev/null || missing+=("${tool##*:}")
  done
  pkg-config --exists libsystemd 2>/dev/null || missing+=(libsystemd-dev)
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
  installed=("${missing[@]}")
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
  discard_venv
  mkdir "$venv"
  touch "$venv/edged-building"
  step "make an environment from $python" "look at the message above; python3-venv must belong to $python" "$python" -m venv "$venv"
  base_of "$venv/bin/python" >"$venv/edged-base"
}

# By a rename first: one whose removal was cut off might have lost its marks, and be taken for another.
discard_venv() {
  rm -rf "$venv.gone"
  [[ ! -e $venv ]] || mv "$venv" "$venv.gone"
  rm -rf "$venv.gone"
}

install_llama() {
  local key wheel
  key=$(llama_key)
  [[ $key != "$(cat "$venv/edged-llama" 2>/dev/null)" ]] || return 0
  mkdir -p "$cache/wheels"
  exec 8<"$cache"
  flock -n 8 || { say "llama.cpp is being built for another clone: waiting for it" && flock 8; }
  rm -rf "$cache"/build.* # of builds that were killed: the lock says that none is alive
  find_llama "$key" >/dev/null || build_llama "$cache/wheels/$key"
  exec 8<&-
  wheel=$(find_llama "$key")
  step "install llama.cpp" "delete $cache/wheels and try again" \
    "$venv/bin/python" -m pip install --force-reinstall --no-deps "$wheel"
  echo "$key" >"$venv/edged-llama"
}

# A wheel that was built for this machine before, by whomever.
find_llama() {
  local place
  for place in "$cache" "$user_cache" "$(home_of_caller)/.cache/edged"; do
    compgen -G "$place/wheels/$1/*.whl" && return
  done
  return 1
}

# The home of whoever called sudo.
home_of_caller() { [[ -z ${SUDO_USER:-} ]] || getent passwd "$SUDO_USER" | cut -d : -f 6; }

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

# --- the service: a version ------------------------------------------------------------------------------------------

# Each version is an environment of its own in versions/, complete when it has its stamp.
build_version() {
  cache=$home/cache
  log=$home/install.log
  : >"$log"
  unfit=(/home/ /root/ /tmp/ /run/)
  export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
  find_python
  if [[ -n $wheels ]]; then
    check_wheels
    # in the environment, so that it holds for what pip starts, and as an address, since pip splits the value at spaces
    export PIP_NO_INDEX=1 HF_HUB_OFFLINE=1
    PIP_FIND_LINKS=$("$python" -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$wheels")
    export PIP_FIND_LINKS
  fi
  install_packages
  [[ ${#installed[@]} == 0 ]] || printf '%s\n' "${installed[@]}" >>"$home/packages"
  venv=$home/versions/$(version_name)
  [[ ! -e $venv/edged-stamp || -e $venv/edged-building ]] || return 0
  mkdir -p "$home/versions"
  open_venv
  [[ -n $wheels ]] || install_llama
  step "install edged and what it needs" "${wheels:+$wheels lacks what pip names above: add that wheel, or }check the \
network (pip's index and proxy settings apply) and try again" install_copy
  step "check that llama.cpp starts here" "llama.cpp was built for another machine: build it here, without --wheels" \
    "$venv/bin/python" -I -c 'import edged, llama_cpp, msgspec, systemd.daemon'
  compgen -G "$venv/lib/python3*/site-packages/edged/runner/lazymap*.so" >/dev/null ||
    say "there is no C compiler here, so models will not be mapped lazily; sudo apt-get install gcc, and again, changes that"
  mkdir "$venv/service"
  cp "$root"/systemd/edged.* "$venv/service"
  service_config >"$venv/service/edged.yaml"
  sync -f "$venv" # a power cut must not leave a stamp over files that never reached the disk
  touch "$venv/edged-stamp"
  rm "$venv/edged-building"
  building=''
}

edged_version() { sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml"; }

# The version's number, and a digest of everything that it is made from.
version_name() {
  local tag
  tag=$("$python" -c 'import sys; print(sys.implementation.cache_tag)')
  echo "$(edged_version)-$({
    uname -m
    echo "$tag"
    if [[ -n $wheels ]]; then cd "$wheels" && ls -- *.whl && { cat edged-*.whl 2>/dev/null || true; }; else llama_key; fi
    cd "$root" && find edged systemd config pyproject.toml install.sh -type f \
      ! -path '*/__pycache__/*' ! -name '*.so' -print0 | sort -z | xargs -0 sha256sum
  } | digest)"
}

# Every package that edged names, as a wheel: better said at once, and all of it, than one by one by pip.
check_wheels() {
  local lacking
  lacking=$("$python" -I - "$root/pyproject.toml" "$wheels" <<'PYTHON'
import pathlib, re, sys, tomllib
project, folder = tomllib.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2])
there = {re.sub("[-_.]+", "-", wheel.name.split("-")[0].lower()) for wheel in folder.glob("*.whl")}
needed = project["project"]["dependencies"]
if "edged" not in there:
    needed = needed + project["build-system"]["requires"]
for each in needed:
    name = re.match("[A-Za-z0-9._-]+", each)[0]
    if re.sub("[-_.]+", "-", name.lower()) not in there:
        print(f"    {each}")
PYTHON
  )
  [[ -z $lacking ]] || die "$wheels lacks wheels of:
$lacking
  './install.sh --help' says how to make such a folder."
}

# Built from a copy: setuptools writes beside the sources, and what it left there earlier would be packed as well.
install_copy() {
  local wheel
  if [[ -n $wheels ]] && wheel=$(compgen -G "$wheels/edged-$(edged_version)-*.whl"); then
    "$venv/bin/python" -I -m pip install "$wheel"
    return
  fi
  mkdir "$venv/source"
  (cd "$root" && cp -r pyproject.toml README.md LICENSE edged "$venv/source")
  find "$venv/source" \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
  retried "$venv/bin/python" -I -m pip install "$venv/source"
  rm -rf "$venv/source"
}

# The default configuration, for a service: it answers the network, where edged.socket listens, and names its folders,
# so that `sudo edged pull` and the like find them, too.
service_config() {
  sed -e 's|^  host: 127\.0\.0\.1$|  host: "::"|' \
    -e 's|^  mode: loopback$|  mode: lan|' \
    -e "s|^  model_dir: auto\$|  model_dir: $state/models|" \
    -e "s|^  state_dir: auto\$|  state_dir: $state|" "$root/config/edged.yaml"
}

# --- the service: what it needs around it -----------------------------------------------------------------------------

# put FILE PLACE: as a whole, and only if it is another.
put() {
  cmp -s "$1" "$2" && return
  install -m 644 "$1" "$2.part"
  mv -f "$2.part" "$2"
}

# point LINK TARGET, so that there is always one.
point() {
  [[ $(readlink "$1") != "$2" ]] || return 0
  ln -sfn "$2" "$1.part"
  mv -fT "$1.part" "$1"
}

# The configuration is the operator's: a new default goes beside it.
write_config() {
  local file=$config_dir/edged.yaml default=$venv/service/edged.yaml
  mkdir -p "$config_dir"
  if [[ ! -e $file ]] || cmp -s "$default" "$file"; then
    put "$default" "$file"
    rm -f "$file.new"
  else
    put "$default" "$file.new"
    say "$file is kept; this version's default is beside it: $file.new"
  fi
  step "check $file" "correct the file; until then what is installed stays as it is" "$venv/bin/edged" check-config "$file"
}

# The models that the configuration names and the catalog knows: from another folder of this machine, else fetched.
bring_models() {
  local lacking id file
  [[ -e $state || ! -L $state ]] || rm "$state" # a link to nowhere: systemd makes it anew
  if [[ ! -e $state/models ]]; then
    mkdir -p "$state/models"
    chown --reference="$state/." "$state/models"
  fi
  lacking=$(missing_models)
  while read -r id file; do
    [[ -n $id ]] || continue # nothing is missing
    copy_model "$file"
    step "fetch the model $id" "check the network and try again, or bring $file from elsewhere: copy it to \
$state/models${wheels:+, or with its .receipts to $wheels}" \
      env STATE_DIRECTORY="$state" "$venv/bin/edged" pull --config "$config_dir/edged.yaml" "$id"
  done <<<"$lacking"
}

missing_models() {
  STATE_DIRECTORY=$state "$venv/bin/python" -I - "$config_dir/edged.yaml" <<'PYTHON'
import pathlib, sys
from edged.config import load, paths
from edged.store import catalog
config = load.load(pathlib.Path(sys.argv[1]))
known = {paths.model_dir(config) / entry.file: entry.id for entry in catalog.load().values()}
for file in dict.fromkeys(paths.model_path(config, name) for name in config.models):
    if file in known and not file.exists():
        print(known[file], file.name)
PYTHON
}

# With its receipt, by which `edged pull` knows it and checks it.
copy_model() {
  local place
  for place in "$wheels" "${HOME:-}/.local/share/edged/models" "$(home_of_caller)/.local/share/edged/models"; do
    [[ -f $place/$1 && -f $place/.receipts/$1.json ]] || continue
    mkdir -p "$state/models/.receipts"
    cp -p "$place/.receipts/$1.json" "$state/models/.receipts"
    cp -p "$place/$1" "$state/models/.$1.part"
    chown -R --reference="$state/models" "$state/models/.receipts" "$state/models/.$1.part"
    mv -f "$state/models/.$1.part" "$state/models/$1"
    return
  done
}

# use VERSION: its units, its journal messages, its command. Starts nothing.
use() {
  local unit
  for unit in edged.service edged.socket; do
    known_settings "$home/$1/service/$unit" >"$home/$unit"
    if [[ $unit == edged.socket && -e $unit_dir/$unit ]] && ! cmp -s "$home/$unit" "$unit_dir/$unit"; then
      systemctl stop edged.socket edged.service # it listens where the old one says
    fi
    put "$home/$unit" "$unit_dir/$unit"
    rm "$home/$unit"
  done
  if [[ -e $home/$1/service/edged.catalog ]]; then
    mkdir -p "${catalog%/*}"
    put "$home/$1/service/edged.catalog" "$catalog"
    journalctl --update-catalog
  fi
  point "$home/current" "$1"
  if [[ -L $command || ! -e $command ]]; then
    point "$command" "$home/current/bin/edged"
  else
    say "$command is not edged's and stays; the command is $home/current/bin/edged"
  fi
  systemctl daemon-reload
  systemctl --quiet enable edged.socket edged.service
}

# Without the settings that this systemd would complain about at every start.
known_settings() {
  if (($(systemctl --version | awk 'NR == 1 {print $2}') < 254)); then
    sed -E '/^Restart(Steps|MaxDelaySec)=/d' "$1"
  else
    cat "$1"
  fi
}

# --- the service: start, and back if that fails -----------------------------------------------------------------------

# `proven` is the last version that became ready, `previous` the one before it; what is neither goes.
start_version() {
  local version=versions/${venv##*/} proven verb=restart
  proven=$(readlink "$home/proven" || true)
  use "$version"
  [[ $version != "$proven" ]] || verb=start
  attempt "start edged ${version##*/}" become_ready "$verb"
  if [[ $outcome != 0 ]]; then
    roll_back "$version" "$proven"
  fi
  if [[ $version != "$proven" ]]; then
    [[ -z $proven ]] || point "$home/previous" "$proven"
    point "$home/proven" "$version"
  fi
  prune
}

roll_back() {
  if [[ -z $2 || $2 == "$1" || ! -e $home/$2/edged-stamp ]]; then
    die "edged is installed but did not become ready; the reason is above. systemd keeps trying unless it says otherwise:
  systemctl status edged; journalctl -u edged. When it is cured: sudo ./install.sh"
  fi
  say "going back to ${2##*/}"
  use "$2"
  attempt "start edged ${2##*/} again" become_ready restart
  prune
  [[ $outcome == 0 ]] || die "the upgrade failed, and the old version does not become ready either: journalctl -u edged"
  die "the upgrade failed: ${1##*/} did not become ready, the reason is above. The old version, ${2##*/}, serves again"
}

prune() {
  local each
  for each in "$home"/versions/*; do
    [[ $each == "$home/$(readlink "$home/current")" || $each == "$home/$(readlink "$home/proven")" ||
      $each == "$home/$(readlink "$home/previous")" ]] || rm -rf "$each"
  done
}

# become_ready start|restart: until /readyz says so. systemctl returns when edged says that it is ready, or has failed.
become_ready() {
  local until=$((SECONDS + ready_timeout_s)) job code=0 status='' now
  systemctl reset-failed edged.service edged.socket 2>/dev/null || true
  systemctl "$1" edged.service &
  job=$!
  while ((SECONDS < until)); do
    if [[ -n $job ]] && ! kill -0 "$job" 2>/dev/null; then
      wait "$job" || code=$?
      job=''
      [[ $code == 0 ]] || break
    fi
    [[ -n $job ]] || ! answer /readyz >/dev/null || return 0
    now=$(systemctl show edged.service -P StatusText)
    [[ -z $now || $now == "$status" ]] || echo "status: $now"
    status=$now
    sleep 0.5
  done
  if [[ -n $job ]]; then
    kill "$job" 2>/dev/null || true
    echo "still starting after $ready_timeout_s s"
  elif [[ $code == 0 ]]; then
    echo "not ready after $ready_timeout_s s: $(answer /readyz 2>&1 || true)"
  fi
  journalctl --unit edged.service --no-pager --output cat --lines 15 || true
  return 1
}

# --- the service: where it answers ------------------------------------------------------------------------------------

# The address that this machine reaches edged at, by what systemd listens on.
address() {
  local listens
  listens=$(systemctl show edged.socket -P Listen | awk '$2 == "(Stream)" && $1 ~ /:[0-9]+$/ {print $1; exit}')
  listens=${listens:-[::]:8080}
  case $listens in
    '[::]:'* | '0.0.0.0:'*) echo "127.0.0.1:${listens##*:}" ;;
    *) echo "$listens" ;;
  esac
}

# answer PATH: what edged says there; fails unless that is a 200.
answer() {
  "$home/current/bin/python" -I - "http://$(address)$1" <<'PYTHON'
import sys, urllib.error, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    with direct.open(sys.argv[1], timeout=10) as response:
        print(response.read().decode())
except urllib.error.HTTPError as error:
    sys.exit(f"{error.code}: {error.read().decode()}")
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
PYTHON
}

show_addresses() {
  local here each
  here=$(address)
  echo "  on this machine   http://$here"
  [[ $here == 127.0.0.1:* && $(access_mode) != loopback ]] || return 0
  for each in $(hostname -I 2>/dev/null || true); do
    [[ $each == *:* ]] || echo "  on the network    http://$each:${here##*:}"
  done
}

access_mode() { "$home/current/bin/edged" check-config "$config_dir/edged.yaml" 2>/dev/null | sed -n 's/.*, access //p' || true; }

show_curl() {
  local models
  models=$(answer /v1/models 2>/dev/null || true) # with API keys, nothing
  if [[ $models == *'"smollm2"'* ]]; then
    echo "  curl -s http://$(address)/v1/chat/completions -H 'Content-Type: application/json' -d '{\"model\": \"smollm2\", \
\"messages\": [{\"role\": \"user\", \"content\": \"What is the capital of Germany?\"}]}'"
  elif [[ -n $models ]]; then
    echo "  curl -s http://$(address)/v1/models"
  else
    echo "  curl -s http://$(address)/readyz"
  fi
}

# --- verbs: the service -----------------------------------------------------------------------------------------------

need_root() {
  ((EUID == 0)) || die "$1 the service needs root: sudo ./install.sh${2:+ $2}
  Without root, './install.sh run' sets edged up in this folder and serves in the foreground."
  [[ -d /run/systemd/system ]] || die "systemd does not run here (a container?). './install.sh run' serves in the foreground"
}

lock_service() {
  mkdir -p "$home"
  exec 9<"$home"
  flock -n 9 || { say "another install.sh is at work: waiting for it" && flock 9; }
}

# install_service [--wheels DIR]
install_service() {
  parse_wheels "$@"
  need_root installing
  lock_service
  build_version
  write_config
  bring_models
  start_version
  echo "edged ${venv##*/} is installed and ready:"
  show_addresses
  echo "Try it:"
  show_curl
  echo "More: systemctl status edged; journalctl -u edged; sudo edged plan; its configuration is $config_dir/edged.yaml"
}

upgrade_service() {
  parse_wheels "$@"
  need_root upgrading upgrade
  [[ -e $home/proven ]] || die "edged is not installed as a service; this does it: sudo ./install.sh"
  install_service "$@"
}

parse_wheels() {
  case $#:${1:-} in
    0:) return ;;
    2:--wheels) wheels=$(readlink -m "$2") ;;
    1:--wheels=*) wheels=$(readlink -m "${1#*=}") ;;
    *) refuse "unknown arguments: $*" ;;
  esac
  compgen -G "$wheels/*.whl" >/dev/null || die "--wheels: there are no wheels in ${2:-${1#*=}}"
}

show_status() {
  local version unit
  [[ $# == 0 ]] || refuse "unknown arguments: $*"
  version=$(readlink "$home/current") || { echo "edged is not installed as a service"; exit 3; }
  echo "version   ${version##*/}$([[ $version == "$(readlink "$home/proven")" ]] || echo " (never was ready)")"
  [[ ! -e $home/previous ]] || echo "previous  $(basename "$(readlink "$home/previous")")"
  for unit in edged.service edged.socket; do
    echo "unit      $unit: $(systemctl show "$unit" -P ActiveState), $(systemctl is-enabled "$unit" 2>/dev/null || true)"
  done
  echo "status    $(systemctl show edged.service -P StatusText)"
  echo "address"
  show_addresses
  # asking a service that was stopped would start it
  if ! systemctl --quiet is-active edged.service || ! answer /readyz >/dev/null 2>&1; then
    echo "ready     no"
    exit 3
  fi
  echo "ready     yes"
}

# uninstall [--purge]: all but configuration and models; with --purge, these as well.
uninstall() {
  local what=$*
  [[ -z $what || $what == --purge ]] || refuse "unknown arguments: $what"
  need_root removing "uninstall${what:+ $what}"
  lock_service
  systemctl --quiet disable --now edged.service edged.socket 2>/dev/null || true
  rm -f "$unit_dir"/edged.{service,socket}
  systemctl daemon-reload
  systemctl reset-failed edged.service edged.socket 2>/dev/null || true
  if [[ -e $catalog ]]; then
    rm "$catalog"
    rmdir --ignore-fail-on-non-empty /usr/local/lib/systemd/catalog /usr/local/lib/systemd
    journalctl --update-catalog
  fi
  [[ $(readlink "$command") != "$home/current/bin/edged" ]] || rm "$command"
  [[ ! -s $home/packages ]] ||
    say "these system packages were installed for the build and stay: $(sort -u "$home/packages" | tr '\n' ' ')"
  rm -rf "$home"
  if [[ $what == --purge ]]; then
    rm -rf "$config_dir" "$state" "${state%/*}/private/edged" "$unit_dir"/edged.{service,socket}.d
    say "removed, with configuration and models"
  else
    rm -f "$config_dir/edged.yaml.new"
    [[ ! -d $state ]] || find "$state/" -mindepth 1 -maxdepth 1 ! -name models -exec rm -rf {} +
    say "removed; $config_dir and $state/models stay, 'sudo ./install.sh uninstall --purge' removes them as well"
  fi
}

# --- verbs: this clone -------------------------------------------------------------------------------------------------

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
  local verb=${1:-service}
  [[ $# == 0 ]] || shift
  case $verb in
    service) install_service "$@" ;;
    --wheels | --wheels=*) install_service "$verb" "$@" ;;
    upgrade) upgrade_service "$@" ;;
    uninstall) uninstall "$@" ;;
    status) show_status "$@" ;;
    run) serve "$@" ;;
    test) check "$@" ;;
    -h | --help) usage ;;
    *) refuse "unknown verb: $verb" ;;
  esac
}

main "$@"

#!/usr/bin/env bash
# build.sh [SDIST] - build the llama-server that benchmarks run beside edged, and print its path.
#
# It is built once per machine, in edged's cache, from the llama.cpp that the llama-cpp-python sdist vendors: the same
# source, compiler and flags as edged's own copy, so that a difference between the two is not one of builds. SDIST
# names an llama_cpp_python-*.tar.gz that is already here; without it pip fetches the version that install.sh installs.
# Needs what install.sh needs (compiler, cmake, ninja, pip); takes minutes, at the lowest priority.
set -euo pipefail

root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../..
version=$(sed -n 's/^readonly llama_version=//p' "$root/install.sh")
flags=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
  -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF
  -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON)
python=$root/.venv/bin/python
[[ -x $python ]] || python=python3
peers=${XDG_CACHE_HOME:-$HOME/.cache}/edged/peers
scratch=''
readonly root version flags python peers

die() { echo "build.sh: $*" >&2; exit 1; }
clean_up() { [[ -z $scratch ]] || rm -rf "$scratch"; }

# Another CPU must not get this one's instructions.
key() {
  { echo "$version ${flags[*]}"; uname -m; grep -m 1 -E '^(flags|Features)' /proc/cpuinfo; "${CXX:-c++}" --version; } |
    sha256sum | cut -c 1-16
}

fetch() {
  echo "fetching llama-cpp-python $version (77 MB)" >&2
  "$python" -m pip download --quiet --no-deps --no-cache-dir --no-binary llama-cpp-python \
    -d "$scratch" "llama-cpp-python==$version" >&2 || die "pip cannot fetch the sdist: check the network and pip's index"
}

compile() {
  nice -n 19 cmake -S "$1" -B "$scratch/build" "${flags[@]}" || return
  nice -n 19 cmake --build "$scratch/build" --target llama-server -j "$(nproc)"
}

build() {
  local sdist=${1:-} source
  if [[ -z $sdist ]]; then
    fetch
    sdist=$(compgen -G "$scratch/llama_cpp_python-*.tar.gz")
  fi
  tar -xzf "$sdist" -C "$scratch" || die "$sdist is not an sdist of llama-cpp-python"
  source=$(compgen -G "$scratch/llama_cpp_python-*/vendor/llama.cpp") || die "$sdist holds no vendor/llama.cpp"
  echo "building llama-server; this takes minutes" >&2
  compile "$source" >"$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" >&2; die "the build failed; that was its end"; }
  mkdir "$scratch/done"
  cp -P "$scratch"/build/bin/* "$scratch/done/" # the program, and the libraries that it looks for beside itself
}

main() {
  local target
  target=$peers/$(key)
  mkdir -p "$peers"
  exec 9<"$peers"
  flock 9 # one build at a time; whoever waited finds it done
  if [[ ! -x $target/llama-server ]]; then
    trap clean_up EXIT
    scratch=$(mktemp -d "$peers/build.XXXXXX") # beside the cache, since /tmp is often in RAM
    build "$@"
    rm -rf "$target"
    mv -T "$scratch/done" "$target"
  fi
  echo "$target/llama-server"
}

main "$@"

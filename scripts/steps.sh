# shellcheck shell=bash disable=SC2154 # log is set by who sources this
# Steps with progress and clear failures, for install.sh, which sets `log` (a file) before it sources this.

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

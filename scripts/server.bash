#!/usr/bin/env bash
# Identifies and stops the server that scripts/run started. scripts/run and scripts/stop source this file, in the
# project's folder.

server_binary=.build/release/latchkey
server_log=.local/latchkey.log
server_pid_file=.local/latchkey.pid
server_stop_seconds_max=60

# Prints the running server's process id; fails if there is none. By now, the id may belong to another process.
server_pid() {
  local pid program
  [[ -r $server_pid_file ]] || return 1
  pid=$(<"$server_pid_file")
  program=$(readlink "/proc/$pid/exe") || return 1
  # After a build, the running program's file has been deleted.
  [[ ${program% (deleted)} == "$(realpath -m "$server_binary")" ]] || return 1
  printf '%s\n' "$pid"
}

# Stops the server gracefully and waits for its end.
stop_server() {
  local pid tenth
  if pid=$(server_pid); then
    kill -TERM "$pid"
    for ((tenth = 0; tenth < server_stop_seconds_max * 10; tenth++)); do
      server_pid >/dev/null || break
      sleep 0.1
    done
    if server_pid >/dev/null; then
      echo "The server (process $pid) did not stop within $server_stop_seconds_max s; see $server_log." >&2
      return 1
    fi
  fi
  rm -f "$server_pid_file"
}

#!/usr/bin/env bash
# How scripts/run and scripts/stop know the server that they started. To be sourced, from the project's folder.

server_binary=.build/release/latchkey
server_log=.local/latchkey.log
server_pid_file=.local/latchkey.pid
server_stop_seconds_max=60

# Prints the running server's process id; fails if there is none. The number alone could be another process's by now.
server_pid() {
  local pid program
  [[ -r $server_pid_file ]] || return 1
  pid=$(<"$server_pid_file")
  program=$(readlink "/proc/$pid/exe") || return 1
  # After a build, the program that still runs is one that was deleted.
  [[ ${program% (deleted)} == "$(realpath -m "$server_binary")" ]] || return 1
  printf '%s\n' "$pid"
}

# Lets the server finish what it is doing, and waits for that.
stop_server() {
  local pid tenth
  if pid=$(server_pid); then
    kill -TERM "$pid"
    for ((tenth = 0; tenth < server_stop_seconds_max * 10; tenth++)); do
      server_pid >/dev/null || break
      sleep 0.1
    done
    if server_pid >/dev/null; then
      echo "The server (process $pid) has not ended within $server_stop_seconds_max s; see $server_log." >&2
      return 1
    fi
  fi
  rm -f "$server_pid_file"
}

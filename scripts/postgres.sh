# Private PostgreSQL servers for tests, to be sourced.
# shellcheck shell=bash

postgres_pids=()

# Prints the folder with PostgreSQL's server programs.
postgres_programs() {
  local candidate
  candidate=$(command -v pg_config >/dev/null && pg_config --bindir || true)
  for candidate in "$candidate" $(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -Vr); do
    if [[ -x $candidate/postgres && -x $candidate/initdb ]]; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

# Runs a command that installs Debian's package, and keeps the package from starting a server of its own.
# The arguments before "--" are put in front of what needs root.
install_without_own_server() {
  local as_root=()
  while [[ $1 != -- ]]; do
    as_root+=("$1")
    shift
  done
  shift
  local status=0 setting=/etc/postgresql-common/createcluster.d/no-main-cluster.conf
  "${as_root[@]}" mkdir -p "$(dirname "$setting")" || return 1
  echo "create_main_cluster = false" | "${as_root[@]}" tee "$setting" >/dev/null || return 1
  "${as_root[@]}" "$@" || status=$?
  "${as_root[@]}" rm -f "$setting"
  return "$status"
}

# PostgreSQL refuses to run as root.
as_postgres_user() {
  if ((EUID == 0)); then
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
  fi
  exec "$@"
}

# start_postgres FOLDER VARIABLE PROGRAMS: starts a server with its files in FOLDER and sets VARIABLE to its URL.
start_postgres() {
  local home=$1 variable=$2 programs=$3
  mkdir "$home" || return 1
  local password log=$home/log
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  echo "$password" >"$home/password"
  touch "$log"
  if ((EUID == 0)); then
    chown -R postgres: "$home" || return 1
  fi
  chmod 700 "$home"

  # A language's collation, so that a query that should sort by bytes and does not is found out.
  local locale=(--locale=C.UTF-8)
  if "$programs/initdb" --help | grep -q -- --icu-locale; then
    locale+=(--locale-provider=icu --icu-locale=en-US)
  fi
  (cd "$home" && as_postgres_user "$programs/initdb" --pgdata="$home/data" --username=tests --pwfile="$home/password" \
    --auth=scram-sha-256 --encoding=UTF8 --no-sync "${locale[@]}") >"$log" 2>&1 ||
    { cat "$log" >&2; return 1; }

  local port pid
  for _ in {1..10}; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue
    # Nothing here outlives the tests, so nothing waits for the disk.
    (cd "$home" && as_postgres_user "$programs/postgres" -D "$home/data" -p "$port" -c listen_addresses=127.0.0.1 \
      -c unix_socket_directories= -c max_connections=200 -c fsync=off -c full_page_writes=off \
      -c synchronous_commit=off) >"$log" 2>&1 &
    pid=$!
    postgres_pids+=("$pid")
    if wait_for_postgres "$pid" "$log" "$port"; then
      printf -v "$variable" '%s' "postgres://tests:$password@127.0.0.1:$port/postgres"
      echo "PostgreSQL $("$programs/postgres" --version | grep -oE '[0-9.]+' | head -n 1) listens on 127.0.0.1:$port"
      return 0
    fi
    kill -INT "$pid" 2>/dev/null || true
  done
  cat "$log" >&2
  return 1
}

# wait_for_postgres PID LOG PORT: waits until the server takes connections; gives up after 30 seconds, or when it
# has ended.
wait_for_postgres() {
  for _ in {1..300}; do
    kill -0 "$1" 2>/dev/null || return 1
    if grep -q 'ready to accept connections' "$2" && (exec 3<>"/dev/tcp/127.0.0.1/$3") 2>/dev/null; then
      return 0
    fi
    sleep 0.1
  done
  return 1
}

# Ends the servers, with whatever connections there are.
stop_postgres() {
  local pid
  for pid in "${postgres_pids[@]}"; do
    kill -INT "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  postgres_pids=()
}

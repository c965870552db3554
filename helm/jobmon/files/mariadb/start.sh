# Starts the built-in MariaDB as an ordinary user. Data is in $FOLDER/data. At each start the accounts are made what the secret says: $APP_USER reads and
# writes rows, $MIGRATE_USER changes tables. The server's own administrator gets in from inside the container only, by its socket.
set -eu
data=$FOLDER/data
socket=${SOCKET:-/tmp/mariadb.sock}
if [ ! -d "$data/mysql" ]; then
  rm -rf "$data.new"
  mariadb-install-db --no-defaults --datadir="$data.new" --skip-test-db --auth-root-authentication-method=socket \
    --auth-root-socket-user="$(id -un)" > /dev/null
  mv "$data.new" "$data"
fi

# A text of SQL.
text() { printf "'%s'" "$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"; }
# An account with its password and its rights on the database; one line for each statement.
account() {
  printf "CREATE USER IF NOT EXISTS %s@'%%';\n" "$(text "$1")"
  printf "ALTER USER %s@'%%' IDENTIFIED BY %s;\n" "$(text "$1")" "$(text "$2")"
  printf "GRANT %s ON \`%s\`.* TO %s@'%%';\n" "$3" "$DATABASE" "$(text "$1")"
}
accounts=$(mktemp)
{
  printf "CREATE DATABASE IF NOT EXISTS \`%s\` CHARACTER SET utf8mb4;\n" "$DATABASE"
  account "$APP_USER" "$APP_PASSWORD" 'SELECT, INSERT, UPDATE, DELETE'
  account "$MIGRATE_USER" "$MIGRATE_PASSWORD" 'ALL PRIVILEGES'
} > "$accounts"

exec mariadbd --no-defaults --datadir="$data" --socket="$socket" --pid-file="$socket.pid" --init-file="$accounts" \
  --bind-address="${ADDRESS:-0.0.0.0}" --port="${PORT:-3306}" --max-connections="$MAX_CONNECTIONS" --skip-name-resolve \
  --skip-log-bin --innodb-buffer-pool-size="${BUFFER_POOL:-256M}"

#!/bin/sh
# What MySQL's image does at its first start, with MariaDB: a database, a user of its own if one is named, root by a password, and what
# stands in the folder for it.
set -eu
[ "$1" = mysqld ] && shift
options="--no-defaults --datadir=/var/lib/mysql --socket=/var/run/mysqld/mysqld.sock --tmpdir=/tmp --innodb-buffer-pool-size=32M"

begin() {
  echo 'FLUSH PRIVILEGES;'
  echo "CREATE DATABASE $MYSQL_DATABASE;"
  if [ -n "${MYSQL_USER:-}" ]; then
    echo "CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$(cat "$MYSQL_PASSWORD_FILE")';"
    echo "GRANT ALL ON $MYSQL_DATABASE.* TO '$MYSQL_USER'@'%';"
  fi
  for file in /docker-entrypoint-initdb.d/*.sql; do
    if [ -e "$file" ]; then cat "$file"; fi
  done
  echo "ALTER USER root@localhost IDENTIFIED BY '$(cat "$MYSQL_ROOT_PASSWORD_FILE")';"
}

if [ ! -d /var/lib/mysql/mysql ]; then
  mariadb-install-db --no-defaults --datadir=/var/lib/mysql --tmpdir=/tmp --skip-test-db --auth-root-authentication-method=normal
  # shellcheck disable=SC2086 # These are several.
  begin | mariadbd $options --bootstrap
fi
# shellcheck disable=SC2086
exec mariadbd $options "$@"

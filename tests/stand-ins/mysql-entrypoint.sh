#!/bin/sh
# What MySQL's image does at its first start, with MariaDB: a database, a user of its own, and root by a password.
set -eu
[ "$1" = mysqld ] && shift
options="--no-defaults --datadir=/var/lib/mysql --socket=/var/run/mysqld/mysqld.sock --tmpdir=/tmp --innodb-buffer-pool-size=32M"
if [ ! -d /var/lib/mysql/mysql ]; then
  mariadb-install-db --no-defaults --datadir=/var/lib/mysql --tmpdir=/tmp --skip-test-db --auth-root-authentication-method=normal
  # shellcheck disable=SC2086 # These are several.
  mariadbd $options --bootstrap <<SQL
FLUSH PRIVILEGES;
CREATE DATABASE $MYSQL_DATABASE;
CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$(cat "$MYSQL_PASSWORD_FILE")';
GRANT ALL ON $MYSQL_DATABASE.* TO '$MYSQL_USER'@'%';
ALTER USER root@localhost IDENTIFIED BY '$(cat "$MYSQL_ROOT_PASSWORD_FILE")';
SQL
fi
# shellcheck disable=SC2086
exec mariadbd $options "$@"

#!/usr/bin/env bash
# Run by the image's entrypoint once in the life of a volume (`/docker-entrypoint-initdb.d`), while
# a temporary server listens on the socket alone: the primary gets its accounts, a replica gets the
# data of the primary.
#
# Keep it the last file there: it says that the first boot is complete.
set -euo pipefail
# shellcheck source=lib.sh
. "${SCRIPTS:-/scripts}/lib.sh"

make_accounts() {
    # For a replica's copy of the data: MySQL clones, MariaDB's is a dump.
    local copy='BACKUP_ADMIN'
    if [[ $kind == mariadb ]]; then
        copy='SELECT, RELOAD, LOCK TABLES, SHOW VIEW, EVENT, TRIGGER, BINLOG MONITOR'
    fi
    # `app` has no right beyond its database. With SUPER, CONNECTION_ADMIN or (MariaDB) READ_ONLY
    # ADMIN it could write on replicas, and no client could keep it from that.
    as_root <<SQL
CREATE DATABASE IF NOT EXISTS app;
CREATE USER 'app'@'%' IDENTIFIED BY '$(quoted "$APP_PASSWORD")';
GRANT ALL ON app.* TO 'app'@'%';
CREATE USER 'repl'@'%' IDENTIFIED BY '$(quoted "$REPLICATION_PASSWORD")';
GRANT REPLICATION SLAVE, $copy ON *.* TO 'repl'@'%';
CREATE USER 'probe'@'%' IDENTIFIED BY '$(quoted "$PROBE_PASSWORD")';
SQL
}

# The primary may just have become ready, and its name be cached as missing for half a minute.
wait_for_primary() {
    local waited=0
    until to_server "$PRIMARY_HOST" repl "$REPLICATION_PASSWORD" -e 'DO 1' 2>"$RUN/refusal"; do
        if ((waited >= ${PRIMARY_WAIT:-300})); then
            log "no login at $PRIMARY_HOST after $waited s: $(<"$RUN/refusal")"
            exit 1
        fi
        if ((waited % 20 == 0)); then log "waiting for $PRIMARY_HOST: $(<"$RUN/refusal")"; fi
        sleep 2
        waited=$((waited + 2))
    done
}

# Copies the primary's data over that of the temporary server, accounts included. Then the server
# wants to be started anew, and there is nobody to do that but the kubelet: the container ends
# here, once, and its next start finds the data.
clone() {
    local pid said
    pid=$(<"$(as_root -e 'SELECT @@pid_file')")
    # A password on the command line would be seen by everybody.
    said=$(as_root 2>&1 <<SQL || true
SET GLOBAL clone_valid_donor_list = '$PRIMARY_HOST:3306';
CLONE INSTANCE FROM 'repl'@'$PRIMARY_HOST':3306 IDENTIFIED BY '$(quoted "$REPLICATION_PASSWORD")';
SQL
    )
    # "Restart server failed (mysqld is not managed by supervisor process)": the data is there.
    if [[ $said != *3707* ]]; then
        log "CLONE failed: $said"
        exit 1
    fi
    # It is still writing what it has to.
    for ((tenths = 0; tenths < 600; tenths++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    : >"$STATE/complete"
    log "cloned from $PRIMARY_HOST; the container is started once more now"
    exit 1
}

# A logical copy with its position, read in one transaction.
copy() {
    # The binary log has what the entrypoint did here, under positions of its own.
    as_root -e 'RESET MASTER'
    {
        echo 'SET SESSION sql_log_bin = 0;'
        MYSQL_PWD=$REPLICATION_PASSWORD mariadb-dump --host="$PRIMARY_HOST" --user=repl \
            --protocol=tcp --skip-ssl-verify-server-cert --single-transaction --gtid \
            --master-data=1 --routines --events --triggers --all-databases \
            --ignore-database=mysql --system=users --insert-ignore
    } | as_root
    # Nothing more here that a binary log takes, as it does FLUSH PRIVILEGES: under a position of this
    # pod's own, replication would stop at the primary's next one.
    : >"$STATE/complete"
    # The entrypoint goes on to the real start, without another run of start.sh.
    write_replica_options
    log "copied from $PRIMARY_HOST, up to $(as_root -e 'SELECT @@gtid_slave_pos')"
}

if is_primary; then
    make_accounts
    : >"$STATE/complete"
else
    wait_for_primary
    if [[ $kind == mysql ]]; then clone; else copy; fi
fi

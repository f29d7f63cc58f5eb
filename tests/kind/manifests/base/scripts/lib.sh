# shellcheck shell=bash
# What the scripts of a pod share: where things are, who the pod is, how to speak to its server.
#
# Every path and name can be set from outside, so that the same files run without Kubernetes.

: "${HOSTNAME:?is the name of the pod}"
# The headless Service, as the StatefulSet's pods are called behind it.
: "${SERVICE:=mysql}"
# The volume, in two parts: what belongs to the server, and what is noted about it.
: "${DATADIR:=/var/lib/mysql}"
: "${STATE:=/state}"
# Options of every pod (from a ConfigMap), and where the server reads its options from.
: "${CONFIG:=/config}"
: "${CONF:=/etc/mysql/conf.d}"
# Gone with the pod, and in memory: it holds a password.
: "${RUN:=/run/pod}"
# Where the probes knock. Not `localhost`: that is the socket, and no client uses the socket.
: "${PROBE_HOST:=127.0.0.1}"
: "${ENTRYPOINT:=docker-entrypoint.sh}"

# The part of the pod's name behind the last dash. 0 is the primary, for as long as there is a pod.
ordinal=${HOSTNAME##*-}
statefulset=${HOSTNAME%-*}
: "${PRIMARY_HOST:=$statefulset-0.$SERVICE}"

# The images of MariaDB 11 have none of MySQL's names (no `mysql`, no `mysqladmin`).
# shellcheck disable=SC2034 # `server` is for start.sh.
if command -v mariadbd >/dev/null; then
    kind=mariadb server=mariadbd client=mariadb
else
    kind=mysql server=mysqld client=mysql
fi

log() { printf '%s: %s\n' "$HOSTNAME" "$*" >&2; }

is_primary() { [[ $ordinal == 0 ]]; }

# A text as the inside of a string in SQL.
quoted() {
    local text=${1//\\/\\\\}
    printf '%s' "${text//\'/\\\'}"
}

# The pod's own server as root, through its socket.
as_root() {
    MYSQL_PWD=$MYSQL_ROOT_PASSWORD "$client" --protocol=socket -uroot --batch --skip-column-names "$@"
}

# A server over TCP: to_server HOST USER PASSWORD [ARGUMENT...]
to_server() {
    local host=$1 user=$2 password=$3 no_tls=()
    shift 3
    # Clients of MariaDB 11.4 check a certificate that nobody has signed.
    if [[ $kind == mariadb ]]; then no_tls=(--skip-ssl-verify-server-cert); fi
    MYSQL_PWD=$password "$client" --protocol=tcp --host="$host" --user="$user" \
        --connect-timeout=3 --batch --skip-column-names "${no_tls[@]}" "$@"
}

# Makes this pod's server a replica at its next start. Never before its first boot is over: the
# image's entrypoint cannot set a root password on a server that is read-only also for root.
write_replica_options() {
    local follow
    case $kind in
    mysql)
        printf '%s\n' '[mysqld]' super_read_only=ON skip_replica_start=ON \
            "init_file=$RUN/replicate.sql" >"$CONF/30-replica.cnf"
        # The key is for the password of caching_sha2_password, as there is no TLS between the
        # pods. Without RETRY_COUNT a replica gives up for good after ten attempts (since 8.4).
        follow="CHANGE REPLICATION SOURCE TO SOURCE_HOST='$PRIMARY_HOST', SOURCE_PORT=3306, \
SOURCE_USER='repl', SOURCE_PASSWORD='$(quoted "$REPLICATION_PASSWORD")', SOURCE_AUTO_POSITION=1, \
GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=1000000, \
SOURCE_HEARTBEAT_PERIOD=2;"$'\n''START REPLICA;'
        ;;
    mariadb)
        printf '%s\n' '[mysqld]' read_only=ON skip_slave_start=ON \
            "init_file=$RUN/replicate.sql" >"$CONF/30-replica.cnf"
        follow="CHANGE MASTER TO MASTER_HOST='$PRIMARY_HOST', MASTER_PORT=3306, \
MASTER_USER='repl', MASTER_PASSWORD='$(quoted "$REPLICATION_PASSWORD")', \
MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=2, \
MASTER_SSL_VERIFY_SERVER_CERT=0;"$'\n''START SLAVE;'
        ;;
    esac
    # The server runs it at each start, one statement per line. So a replica needs nobody who
    # points it at the primary, also not after its volume came from another pod.
    (umask 077 && printf '%s\n' "$follow" >"$RUN/replicate.sql")
}

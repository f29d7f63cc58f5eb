#!/usr/bin/env bash
# The command of the container: writes the options of this pod, then hands over to the entrypoint
# of the image. It has to be the container's command and no init container: after a CLONE only the
# container is started again.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p "$STATE"

# A first boot that was cut off (a node that died, a probe that lost patience) leaves a data
# directory that looks complete to the entrypoint. It never served anybody: begin again.
if [[ -e $STATE/begun && ! -e $STATE/complete ]]; then
    log 'the first boot was cut off; beginning again with an empty data directory'
    find "$DATADIR" -mindepth 1 -delete
elif [[ ! -e $STATE/complete && -d $DATADIR/mysql ]]; then
    log 'the volume has data from before these manifests; taken as it is'
    : >"$STATE/complete"
fi
: >"$STATE/begun"

cp "$CONFIG/server.cnf" "$CONF/10-server.cnf"
# No two servers of one replication may share an id, and 0 is none.
printf '%s\n' '[mysqld]' "server_id=$((ordinal + 1))" "report_host=$HOSTNAME.$SERVICE" \
    >"$CONF/20-pod.cnf"
rm -f "$CONF/30-replica.cnf"
if ! is_primary && [[ -e $STATE/complete ]]; then
    write_replica_options
fi

exec "$ENTRYPOINT" "$server"

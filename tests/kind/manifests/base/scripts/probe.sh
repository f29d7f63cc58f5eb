#!/usr/bin/env bash
# Whether the pod is alive, or ready: probe.sh live|ready
#
# Both log in over TCP and run a statement. `mysqladmin ping` succeeds with a wrong password, and the
# socket answers while the entrypoint's temporary server runs.
#
# Ready does not ask for replication: if it did, the end of the primary would take all replicas out
# of DNS with it. How far a replica is behind is for each reader to judge.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# By hand: kubectl exec mysql-1 -- touch /run/pod/out-of-service
if [[ $1 == ready && -e $RUN/out-of-service ]]; then
    echo "$RUN/out-of-service exists"
    exit 1
fi

said=$(to_server "$PROBE_HOST" probe "$PROBE_PASSWORD" -e 'SELECT 1' 2>&1) && exit 0
# A server without room for one more is busy, not dead. To restart it would make that worse.
if [[ $1 == live && $said == *'ERROR 1040'* ]]; then exit 0; fi
echo "$said"
exit 1

#!/usr/bin/env bash
# Before the server is told to end. From this moment DNS lists the pod no more.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if is_primary; then
    # Writers are refused now instead of being cut off in the middle, and wait for the next primary;
    # replicas fetch what is left. Open transactions hold it up, but not for ever. It is not
    # remembered: the next start is writable.
    read_only='SET GLOBAL read_only = ON'
    if [[ $kind == mysql ]]; then read_only='SET GLOBAL super_read_only = ON'; fi
    as_root -e "SET SESSION lock_wait_timeout = 10; $read_only" ||
        log 'the primary could not be made read-only; ending anyway'
    sleep "${PRIMARY_DRAIN:-2}"
else
    # Until every client has seen that DNS lists this pod no more, or was refused once.
    sleep "${REPLICA_DRAIN:-15}"
fi

#!/bin/bash
# A study on the nodes of a SLURM job, which start a Ray of their own and end it:
#
#   sbatch cluster/slurm.sh search_spaces/transfer_full.yaml --data-dir /mnt/stage1/bars
#
# from a checkout in a folder that all nodes mount, set up by `make test`. What follows the script
# are the options of stage1.tune; docs/slurm.md says more. What to change is marked CHANGE.
#SBATCH --job-name=stage1
#SBATCH --nodes=3                     # CHANGE
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4             # CHANGE: of each node, a multiple of `resources` of the space
#SBATCH --gpus-per-node=1             # CHANGE: leave out without GPUs
#SBATCH --time=12:00:00               # CHANGE
#SBATCH --no-kill                     # a node that dies is not the end of the job
#SBATCH --no-requeue                  # --resume goes on, the same line again would not
#SBATCH --signal=B:TERM@180           # three minutes before that the study saves, for --resume
#SBATCH --output=stage1-%j.log
set -euo pipefail

bin=${STAGE1_BIN:-$SLURM_SUBMIT_DIR/.venv/bin}
states=${STAGE1_STATES:-$SLURM_SUBMIT_DIR/states}    # a folder that all nodes mount
head=${HEAD_IP:-$(hostname -I | cut -d ' ' -f 1)}    # CHANGE where a node has several networks
port=$((20000 + SLURM_JOB_ID % 10000))
room=/tmp/stage1-$SLURM_JOB_ID                       # on each node; Ray wants a short path
log=$SLURM_SUBMIT_DIR/stage1-$SLURM_JOB_ID-ray.log
others=$((SLURM_JOB_NUM_NODES - 1))

# Only what knows the token of this job comes in. It is in no file and on no command line.
RAY_AUTH_TOKEN=$("$bin/python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0 MALLOC_ARENA_MAX=1

node="umask 077; mkdir -p $room/r; exec $bin/ray start --block --num-cpus=$SLURM_CPUS_PER_TASK"
node+=" --num-gpus=${SLURM_GPUS_ON_NODE:-0} ${RAY_START_OPTIONS:-}"
on_others=(srun "--nodes=$others" "--ntasks=$others" "--exclude=$SLURMD_NODENAME" --export=ALL
    "--cpus-per-task=$SLURM_CPUS_PER_TASK" --no-kill --kill-on-bad-exit=0)
started=() study=

finish() {
    trap '' TERM
    kill "${started[@]}" 2> /dev/null || true
    wait
    rm -rf "$room"
    [ "$others" -eq 0 ] || "${on_others[@]}" rm -rf "$room" >> "$log" 2>&1 || true
}
trap finish EXIT
trap '[ -z "$study" ] && exit 143; kill -TERM "$study"' TERM

nodes() {
    "$bin/python" -c 'import ray, sys
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print(sum(node["Alive"] for node in ray.nodes()))' "$head:$port" 2> /dev/null || echo 0
}

all_run() {    # one kill of several ids is content with one that lives
    local id
    for id in "${started[@]}"; do kill -0 "$id" 2> /dev/null || return 1; done
}

wait_for() {
    until [ "$(nodes)" -ge "$1" ]; do
        if [ "$SECONDS" -gt 600 ] || ! all_run; then
            echo "error: Ray must start on $1 nodes within ten minutes, got $(nodes); see $log" >&2
            exit 2
        fi
        sleep 2
    done
}

bash -c "$node --head --node-ip-address=$head --port=$port --temp-dir=$room/r \
    --include-dashboard=false --dashboard-host=127.0.0.1" > "$log" 2>&1 &
started+=($!)
wait_for 1
if [ "$others" -gt 0 ]; then
    "${on_others[@]}" bash -c "$node --address=$head:$port" >> "$log" 2>&1 &
    started+=($!)
fi
wait_for "$SLURM_JOB_NUM_NODES"

cd "$SLURM_SUBMIT_DIR"
"$bin/python" -m stage1.tune "$@" --address "$head:$port" --storage "$states" &
study=$!
status=0
wait "$study" || status=$?
if kill -0 "$study" 2> /dev/null; then    # TERM has ended the wait alone
    status=0
    wait "$study" || status=$?
fi
exit "$status"

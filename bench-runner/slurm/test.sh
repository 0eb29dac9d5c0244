#!/bin/bash
# Runs sweep.sbatch on a Slurm cluster of this machine alone, made for it and gone after it, and merges what its tasks
# measured. Needs Debian's slurm-wlm (slurmctld, slurmd, munge) and root; listens on ports 26817 and 26818 of this machine.
#
#   bench-runner/slurm/test.sh target/release/bench-runner
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
runner=$(realpath "${1:?give the bench-runner to test}")
shards=${2:-3}
for tool in munged slurmctld slurmd sbatch; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install slurm-wlm" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "slurmd starts jobs as their users: run this as root" >&2; exit 2; }

dir=$(mktemp -d)
chmod 755 "$dir"
# A socket's path is short.
cleanup() {
  for name in slurmd slurmctld munged; do
    [ -f "$dir/$name.pid" ] || continue
    pid=$(cat "$dir/$name.pid")
    # Until it has written its last file.
    kill "$pid" 2>/dev/null && timeout 30 tail --pid="$pid" -f /dev/null || true
  done
  [ "${KEEP:-}" ] && echo "kept: $dir" || rm -rf "$dir"
}
trap cleanup EXIT
logs() { tail -n 20 "$dir"/*.log >&2 || true; }
trap logs ERR
# Until a condition holds, at most a minute.
await() {
  local what=$1; shift
  for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
  echo "$what: not within a minute" >&2
  return 1
}

host=$(hostname -s)
mkdir "$dir"/{munge,state,spool,work}
chmod 700 "$dir/munge"
head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 600 "$dir/munge/key"
munged --force --key-file="$dir/munge/key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
  --log-file="$dir/munged.log" --seed-file="$dir/munge/seed"

cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
slurmctld
await "slurmctld" scontrol ping
slurmd -N "$host"
idle() { [ "$(sinfo -h -o %t)" = idle ]; }
await "the node" idle

# A shape of 0.1 million parameters with random weights; 12 cases.
mkdir "$dir/work/tiny"
cat >"$dir/work/tiny/config.json" <<'JSON'
{ "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "tie_word_embeddings": true, "torch_dtype": "float32" }
JSON
cd "$dir/work"
export BENCH_RUNNER=$runner
sweep=(--model tiny/config.json --precision fp32,bf16 --batch 1,2 --prompt 8,16,32 --generate 4 --repetitions 1)
job=$(sbatch --parsable --wait --array="1-$shards" --cpus-per-task=1 "$here/sweep.sbatch" "${sweep[@]}")
echo "job $job: $(ls shards/"$job"/*.db | wc -l) databases"

merged=$("$runner" merge sweep.db shards/"$job"/*.db)
echo "$merged"
[[ $merged == *": 12 of 12 cases, 12 new, finished"* ]]
again=$("$runner" merge sweep.db shards/"$job"/*.db)
[[ $again == *": 12 of 12 cases, 0 new, finished"* ]]
[ "$("$runner" export --db sweep.db | wc -l)" = 12 ]
echo "ok: $shards tasks under $(sbatch --version), one run of 12 cases"

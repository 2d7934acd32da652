#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, as root, without systemd.
#   cluster.sh start FOLDER    prints the path of slurm.conf, for SLURM_CONF; everything lies in FOLDER
#   cluster.sh stop FOLDER     ends the daemons of that folder, and no others
# Debian's packages: slurm-wlm and munge.
set -euo pipefail

command=$1 folder=$2

port() {  # a port that is free now
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start() {
  mkdir -p "$folder"/{state,spool,log,munge}
  chmod 755 "$folder"
  chmod 700 "$folder/munge"
  head -c 128 /dev/urandom >"$folder/munge/key"
  chmod 400 "$folder/munge/key"
  # munged refuses a socket in a folder that its group may write to, so it gets one of its own in /run.
  socket=$(mktemp -d /run/superpose-munge.XXXXXX)
  chmod 711 "$socket"
  echo "$socket" >"$folder/socket"
  munged --force --key-file="$folder/munge/key" --socket="$socket/socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed"
  cat >"$folder/slurm.conf" <<CONF
ClusterName=superpose
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$socket/socket
CredType=cred/munge
SlurmctldPort=$(port)
SlurmdPort=$(port)
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=1,sched_interval=2
ReturnToService=2
KillWait=10
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=$(hostname -s) Default=YES MaxTime=60 State=UP
CONF
  export SLURM_CONF=$folder/slurm.conf
  slurmctld
  slurmd
  for _ in $(seq 60); do
    if [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
      echo "$SLURM_CONF"
      return
    fi
    sleep 0.5
  done
  tail -n 5 "$folder"/log/*.log >&2
  return 1
}

stop() {
  for name in slurmd slurmctld munged; do
    if [ -s "$folder/$name.pid" ]; then
      kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
    fi
  done
  if [ -s "$folder/socket" ]; then
    rm -rf "$(cat "$folder/socket")"
  fi
}

"$command"

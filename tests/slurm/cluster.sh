#!/bin/sh
# A Slurm cluster on this machine, until standard input ends: munge, a controller, and nodes.
#
# usage: CLOSED="DIRECTORY..." unshare --mount --net cluster.sh DIRECTORY NODE...
#
# CLOSED are directories that only root may enter, such as its home, with what is run in them: in
# here all may.
#
# It touches nothing outside DIRECTORY: /etc/slurm is a mount that only this process and its
# children see, and so is the network. Each node has process ids, a host name, and a /dev/shm and
# a /mnt of its own, so that it can be lost as a whole, and so that what is no shared directory
# is none. The first file that says the cluster is up is DIRECTORY/up.
set -eu

directory=$1
shift

ours() { # start something that ends when we do, however that is
	setpriv --pdeathsig KILL -- "$@" </dev/null >>"$directory/daemons.log" 2>&1 &
}

ip link set lo up
# Neither the resolver nor Open MPI takes the loopback device for a network.
ip link add eth0 type veth peer name eth1
ip address add 10.0.0.1/24 dev eth0
ip link set eth0 up
ip link set eth1 up
mount -t tmpfs tmpfs /mnt
for closed in ${CLOSED-}; do
	over=$directory/over$closed
	mkdir -p "$over"
	mount -t tmpfs tmpfs "$over"
	mkdir "$over/upper" "$over/work"
	mount -t overlay -o "lowerdir=$closed,upperdir=$over/upper,workdir=$over/work" overlay "$closed"
	chmod a+rx "$closed"
done
mount -t tmpfs tmpfs /etc/slurm
ln -s "$directory/slurm.conf" /etc/slurm/slurm.conf
mkdir -p "$directory/state" "$directory/spool"

ours munged --foreground --force --key-file="$directory/munge.key" \
	--socket="$directory/munge.sock" --pid-file="$directory/munged.pid" \
	--log-file="$directory/munged.log" --seed-file="$directory/munge.seed"
while ! [ -S "$directory/munge.sock" ]; do sleep 0.05; done
ours slurmctld -D -c

start() {
	# shellcheck disable=SC2016 # to be expanded by the node's shell
	ours unshare --mount --pid --uts --ipc --fork --kill-child --mount-proc sh -c '
		hostname "$1"
		mount -t tmpfs tmpfs /dev/shm
		mount -t tmpfs tmpfs /mnt
		slurmd -D -N "$1" & # the first process of the node adopts what loses its parent
		wait' node "$1"
	echo $! >"$directory/$1.pid"
}
for node; do start "$node"; done
until [ "$(sinfo -h -N -t idle | wc -l)" = $# ]; do sleep 0.1; done
: >"$directory/up"

# A node that was lost is started again by its name on a line.
while read -r node; do start "$node"; done

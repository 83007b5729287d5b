#!/bin/busybox sh
# The guest's first process: mounts the host's root, read-only below a layer in memory, and
# hands over to second.sh there. A plain chroot would not do: modprobe fails in one.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null

fail() {
	echo "guest: $*"
	poweroff -f
	sleep 60
}

while read -r module; do
	insmod "/modules/$module" || echo "guest: $module was not loaded"
done </modules/order

mkdir -p /host /layer /root /exchange
mount -t virtiofs -o ro host /host || fail "the host's root cannot be mounted"
mount -t virtiofs exchange /exchange || fail "the exchange directory cannot be mounted"
mount -t tmpfs -o mode=755 layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root ||
	fail "nothing can be laid over the host's root"

mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t cgroup2 cgroup /root/sys/fs/cgroup
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 shm /root/dev/shm
mount -t tmpfs run /root/run
mount -t tmpfs -o mode=1777 tmp /root/tmp
mkdir -p /root/run/exchange "/root/lib/modules/$(uname -r)"
mount --move /exchange /root/run/exchange

# A tree below /tmp or /run is hidden by what was just mounted there.
while read -r directory; do
	mkdir -p "/root$directory" /layer/shown /layer/shown-work
	mount -t overlay -o "lowerdir=/host$directory,upperdir=/layer/shown,workdir=/layer/shown-work" \
		shown "/root$directory"
done </root/run/exchange/show
mount --bind "/host$(cat /root/run/exchange/modules)" "/root/lib/modules/$(uname -r)"

ip link set lo up
hostname guest
exec switch_root /root /bin/sh /run/exchange/second.sh

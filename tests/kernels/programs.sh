#!/bin/busybox sh
# The first process of a guest that has no files but what it was booted with: runs its programs.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
echo "guest: release $(uname -r)"
for program in /programs/*; do
	echo "guest: begin ${program##*/}"
	timeout 180 "$program" 2>&1
	echo "guest: end $?"
done
poweroff -f

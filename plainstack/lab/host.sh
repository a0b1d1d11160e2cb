#!/bin/sh
# Runs a host's container until it is switched off. The mounts and cables made here end with this process.
# Arguments: disk, its lower layers, namespace, number of cables; for each cable its end, bridge, interface and hardware
# address; then arguments for nspawn.
set -eu
disk=$1 lowers=$2 namespace=$3 cables=$4
shift 4

mount --make-rprivate /
while [ "$cables" -gt 0 ]; do
    # nspawn moves the interface into the container. When the container reboots, nspawn takes it out and moves it in again.
    ip link add "$3" address "$4" type veth peer name "$1" netns "$namespace"
    ip -n "$namespace" link set "$1" master "$2" up
    shift 4
    cables=$((cables - 1))
done

if ! [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
# If /sys were writable, nspawn would look for its interfaces there, but this /sys shows the interfaces of the machine.
mount -o remount,bind,ro /sys
# nspawn cleans /run/systemd/nspawn up only on a tmpfs, and on some machines /run is on a disk.
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
# `volatile` skips fsync: a killed host loses nothing, and the machine's disk has less to do. Only a crash of the machine
# itself can damage such an overlay, which is acceptable in a lab. The kernel refuses to mount a volatile overlay twice
# until its mark work/incompat is deleted.
space=$disk
if [ -e "$disk/limited.ext4" ]; then
    # A disk of limited size; what was written before it had a limit is in a lower layer.
    space=$disk/space lowers=$disk/upper:$lowers
    mkdir -p "$space"
    mount -o loop "$disk/limited.ext4" "$space"
    mkdir -p "$space/upper" "$space/work"
    # The overlay makes folders in `work`. Without a free block, the kernel refuses the mount, or makes it read-only.
    rm -f "$space/reserve"
fi
(cd "$space/work" && rm -rf work/incompat)
# The kernel reads only 4096 bytes of options, so the layers get short names, on a file system that the overlay hides.
mount -t tmpfs lab "$disk/root"
(
    cd "$disk/root"
    IFS=: number=0 names=
    for layer in $lowers; do
        ln -s "$layer" "$number"
        names=$names${names:+:}$number number=$((number + 1))
    done
    # Without redirect_dir, a folder of a lower layer cannot be renamed. With index or metacopy, which a kernel may have
    # on by default, layers could not be merged.
    options=volatile,redirect_dir=on,index=off,metacopy=off
    mount -t overlay -o "$options,lowerdir=$names,upperdir=$space/upper,workdir=$space/work" lab "$disk/root"
)
if [ "$space" != "$disk" ]; then
    head -c 65536 /dev/zero >"$space/reserve" 2>/dev/null || :
fi

# This script is in the host's cgroup `starter`. Each boot gets a new cgroup next to it, because a used one may refuse
# processes.
group=$(sed -n 's|^0::\(.*\)/starter$|/sys/fs/cgroup\1|p' /proc/self/cgroup)
boot=0
code=133
while [ "$code" -eq 133 ]; do # nspawn's exit code for a reboot
    boot=$((boot + 1))
    mkdir "$group/boot-$boot"
    code=0
    sh -c 'echo $$ >"$0/cgroup.procs" && exec systemd-nspawn "$@"' "$group/boot-$boot" \
        --directory="$disk/root" "$@" || code=$?
done
# If nspawn was killed, the host's processes still run: end them.
echo 1 >"$group/cgroup.kill"

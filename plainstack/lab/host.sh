#!/bin/sh
# Runs a host's container until it is switched off; every mount and cable made here goes when this goes.
# Arguments: disk, its lower layers, namespace, number of cables, for each (end, bridge, interface, hardware address), words for nspawn.
set -eu
disk=$1 lowers=$2 namespace=$3 cables=$4
shift 4

mount --make-rprivate /
while [ "$cables" -gt 0 ]; do
    # nspawn moves the interface into the host, and takes it back and in again when the host reboots.
    ip link add "$3" address "$4" type veth peer name "$1" netns "$namespace"
    ip -n "$namespace" link set "$1" master "$2" up
    shift 4
    cables=$((cables - 1))
done

if ! [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
# This /sys shows the machine's interfaces; nspawn looks for its own there unless it is read-only.
mount -o remount,bind,ro /sys
# nspawn tidies up here only if this is no disk's file system, and on some machines /run is on one.
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
# `volatile` leaves out fsync: a host that is killed loses nothing by it, and the machine's disk is spared. The kernel
# marks such a disk as used, for the case that the machine itself crashed; a lab's disk is worth that risk.
space=$disk
if [ -e "$disk/limited.ext4" ]; then
    # A disk of its own size: what was written before it had one is below.
    space=$disk/space lowers=$disk/upper:$lowers
    mkdir -p "$space"
    mount -o loop "$disk/limited.ext4" "$space"
    mkdir -p "$space/upper" "$space/work"
fi
(cd "$space/work" && rm -rf work/incompat)
# Without redirect_dir a folder of a lower layer cannot be renamed.
mount -t overlay -o "volatile,redirect_dir=on,lowerdir=$lowers,upperdir=$space/upper,workdir=$space/work" lab "$disk/root"

# We are in the host's group `starter`; each boot gets a new group beside it, as a used one may refuse processes.
group=$(sed -n 's|^0::\(.*\)/starter$|/sys/fs/cgroup\1|p' /proc/self/cgroup)
boot=0
code=133
while [ "$code" -eq 133 ]; do # nspawn's way to say: reboot
    boot=$((boot + 1))
    mkdir "$group/boot-$boot"
    code=0
    sh -c 'echo $$ >"$0/cgroup.procs" && exec systemd-nspawn "$@"' "$group/boot-$boot" \
        --directory="$disk/root" "$@" || code=$?
done
# A killed nspawn leaves its host running, with nobody to reboot it.
echo 1 >"$group/cgroup.kill"

# Boots a folder as a host, in the network namespace that this is started in.
# Everything that is mounted here is seen by nobody else and ends with the host.
set -e
: "${NAME:?}" "${BASE:?}" "${FOLDER:?}" "${PACKAGES:?}"

# One control group for the host, below the one hierarchy that systemd wants. What
# was mounted there is only taken out of sight: a glance of anybody at one of these
# mounts makes them busy, and a boot that waits for quiet fails on a busy machine.
groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
mkdir -p "$groups/$NAME"
echo $$ >"$groups/$NAME/cgroup.procs"
if mountpoint -q /sys/fs/cgroup; then umount --lazy --recursive /sys/fs/cgroup; fi
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# A /run of its own, because systemd-nspawn insists on a tmpfs there, and a file
# system for pins, which is as empty after a boot as on a real machine.
mount -t tmpfs -o mode=755 run /run
mkdir /run/bpf
mount -t bpf -o mode=700 bpf /run/bpf

# What the host writes stays in the folder of the test, over a boot too.
mkdir -p "$FOLDER/upper" "$FOLDER/work" "$FOLDER/root"
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$FOLDER/root"

exec systemd-nspawn --quiet --boot --directory="$FOLDER/root" --machine="$NAME" \
	--register=no --keep-unit --console=pipe \
	--bind=/run/bpf:/sys/fs/bpf --bind-ro="$PACKAGES:/packages" \
	--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON,CAP_SYS_ADMIN,CAP_NET_RAW,CAP_SYS_RESOURCE,CAP_IPC_LOCK \
	--system-call-filter="bpf perf_event_open"

# Makes the disk of a machine: the installed system, the modules of its kernel,
# the packages, and what the test puts beside.
# What is mounted here is seen by nobody else and ends with this script.
set -e
: "${BASE:?}" "${KERNEL:?}" "${FOLDER:?}" "${PACKAGES:?}" "${UNITS:?}"

mkdir -p "$FOLDER/work" "$FOLDER/root"
layers="lowerdir=$KERNEL/root:$BASE,upperdir=$FOLDER/upper,workdir=$FOLDER/work"
mount -t overlay overlay -o "$layers" "$FOLDER/root"
cp -r "$PACKAGES" "$FOLDER/root/packages"
chroot "$FOLDER/root" depmod "$(ls "$KERNEL/root/usr/lib/modules")"
# shellcheck disable=SC2086 # a list of names
chroot "$FOLDER/root" systemctl --quiet enable $UNITS

# No journal: a disk that was not left in order is not used again.
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$FOLDER/root" "$FOLDER/disk" 1G

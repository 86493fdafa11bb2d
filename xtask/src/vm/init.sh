#!/busybox sh
# The first process of a machine with a disk: finds the disk and hands over to it.
set -e
/busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do /busybox insmod "$module"; done
# The disk appears in its own time.
while ! [ -b /dev/vda ]; do /busybox usleep 50000; done
/busybox mount -t ext4 -o noatime /dev/vda /disk
/busybox umount /dev
exec /busybox switch_root /disk /lib/systemd/systemd

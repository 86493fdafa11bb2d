#!/bin/sh
# Installs what provision.sh arranges: hostfw from /tmp/hostfw.deb, and the
# services of the cluster of etc/demo.
set -eu
package=/tmp/hostfw.deb
if ! [ -e $package ]; then
	echo "there is no package: run \`cargo xtask package deb\`, then \`vagrant provision\`" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends \
	openssh-server etcd-server chrony nginx-light socat iproute2
apt-get install --quiet --yes --allow-downgrades $package

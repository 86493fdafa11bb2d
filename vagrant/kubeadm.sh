#!/bin/sh
# Makes a provisioned node ready for kubeadm: what stood in for Kubernetes goes,
# and what kubeadm's preflight checks ask of a node is there. kubeadm itself
# comes from the archive of Kubernetes, in the version that is wanted.
set -eu
export DEBIAN_FRONTEND=noninteractive

for standin in kubelet kube-apiserver etcd; do
	systemctl disable --quiet --now $standin 2>/dev/null || true
done
rm -f /etc/systemd/system/kubelet.service /etc/systemd/system/kube-apiserver.service
systemctl daemon-reload

# Memory is the scheduler's to give.
swapoff --all
sed -i '/[[:space:]]swap[[:space:]]/s/^[^#]/#&/' /etc/fstab

printf 'overlay\nbr_netfilter\n' >/etc/modules-load.d/kubernetes.conf
modprobe --all overlay br_netfilter
printf 'net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\n' \
	>/etc/sysctl.d/90-kubernetes.conf
sysctl --quiet --system

apt-get install --quiet --yes --no-install-recommends \
	containerd conntrack ethtool iptables socat
mkdir -p /etc/containerd
containerd config default |
	sed 's/SystemdCgroup = false/SystemdCgroup = true/' >/etc/containerd/config.toml
systemctl restart containerd

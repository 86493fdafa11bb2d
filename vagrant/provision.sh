#!/bin/sh
# Makes a host with Debian a host of the cluster of etc/demo: its network, its
# services, its policies. Installs nothing; what it needs is installed.
#
#   provision.sh NAME ROLE IP [IFACE]
#
# ROLE is control-plane, infra, worker or jump. IFACE is the device with the
# address, or eth0 where none has it yet. SOURCE is a folder with etc/demo in it;
# /vagrant when it is not set.
set -eu
name=$1 role=$2 ip=$3
iface=${4:-$(ip -o -4 address show to "$ip/32" | awk 'NR == 1 { print $2 }')}
iface=${iface:-eth0}
demo=${SOURCE:-/vagrant}/etc/demo
overlay=10.244.0.${ip##*.}
units=/etc/systemd/system

echo "$name" >/etc/hostname
hostname "$name"

# Address and overlay, after the firewall and before what listens on them. What
# is there already is taken as it is: not every provider leaves the address to us.
cat >/usr/local/sbin/cluster-network <<EOF
#!/bin/sh
set -e
ip address replace $ip/24 dev $iface
ip link set $iface up
ip link show vxlan0 >/dev/null 2>&1 && exit 0
# The same hardware address after every boot: the others remember it.
ip link add vxlan0 address 02:00:0a:f4:00:$(printf %02x "${ip##*.}") type vxlan id 42 dstport 8472 local $ip dev $iface
ip address add $overlay/24 dev vxlan0
ip link set vxlan0 up
for peer in 10.20.0.5 10.20.0.11 10.20.0.12 10.20.0.13; do
	[ \$peer = $ip ] || bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst \$peer
done
EOF
chmod 755 /usr/local/sbin/cluster-network
cat >$units/cluster-network.service <<EOF
[Unit]
DefaultDependencies=no
Wants=network.target
After=network-pre.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/cluster-network
[Install]
WantedBy=multi-user.target
EOF

# A server that only accepts connections, in place of a component of Kubernetes.
listener() {
	cat >"$units/$1.service" <<EOF
[Unit]
After=network.target
[Service]
ExecStart=socat TCP-LISTEN:$2,fork,reuseaddr,backlog=128 EXEC:true
[Install]
WantedBy=multi-user.target
EOF
	services="$services $1"
}

services="cluster-network ssh"
[ "$role" = jump ] || listener kubelet 10250
case $role in
control-plane)
	listener kube-apiserver 6443
	services="$services etcd"
	cat >/etc/default/etcd <<EOF
ETCD_NAME=$name
ETCD_LISTEN_CLIENT_URLS=http://$ip:2379
ETCD_ADVERTISE_CLIENT_URLS=http://$ip:2379
ETCD_LISTEN_PEER_URLS=http://$ip:2380
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$ip:2380
ETCD_INITIAL_CLUSTER=$name=http://$ip:2380
EOF
	;;
infra)
	services="$services nginx chrony"
	cat >/etc/nginx/sites-enabled/default <<EOF
server {
	listen 80;
	listen 443;
	return 200 "$name\n";
}
EOF
	printf 'allow 10.20.0.0/24\nlocal stratum 8\n' >/etc/chrony/chrony.conf
	# A container must not set the clock, but it can tell the time.
	if systemd-detect-virt --quiet --container; then
		echo 'DAEMON_OPTS="-x"' >/etc/default/chrony
		mkdir -p $units/chrony.service.d
		printf '[Unit]\nConditionCapability=\n' >$units/chrony.service.d/container.conf
	fi
	;;
esac

# The policies of the demonstration, and time from infra for the nodes.
mkdir -p /etc/hostfw/policies.d /etc/hostfw/cluster.d
cp "$demo"/cluster.d/*.yaml /etc/hostfw/cluster.d/
cp "$demo"/policies.d/*.yaml /etc/hostfw/policies.d/
cat >/etc/hostfw/policies.d/host-time.yaml <<EOF
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata:
  name: host-time
spec:
  description: The time for nodes
  nodeSelector:
    matchLabels:
      node-role.kubernetes.io/infra: ""
  ingress:
  - fromEntities: [remote-node]
    toPorts:
    - ports:
      - {port: "123", protocol: UDP}
EOF

# The card of a container is an end of a pair, which is not filtered by itself
# before it has an address: by then the first packets would have passed. Another
# device with the default route is how whoever runs virtual machines reaches them.
config=/etc/hostfw/hostfw.yaml
route=$(ip -4 route show default | awk 'NR == 1 { for (i = 1; i < NF; i++) if ($i == "dev") print $(i + 1) }')
touch $config
if ! grep -q '^devices:' $config; then
	printf 'devices:\n  include: ["%s"]\n' "$iface" >>$config
	case $route in
	"" | "$iface") ;;
	*) printf '  exclude: ["%s"]\n' "$route" >>$config ;;
	esac
fi

systemctl daemon-reload
# shellcheck disable=SC2086 # a list of names
systemctl enable --quiet $services
# shellcheck disable=SC2086
systemctl restart $services
if systemctl --quiet is-active hostfw; then systemctl restart hostfw; fi

//! Real packets over a pair of devices, between this network namespace and
//! another one: what policy allows arrives, what it does not does not, and
//! without the programs everything does.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{Feature, How, Kernel};
use hostfw_datapath::{
    Direction, Reason,
    control_word::{ControlWord, InForce},
    packet::Layer,
};
use hostfw_parity::{
    network::{Namespace, Network},
    policies,
};

const HERE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];
const THERE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
];

/// Opens port 22 to the peers.
const POLICY: &str = "
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: ssh}
spec:
  nodeSelector: {}
  ingress:
  - fromCIDR: [198.51.100.0/24, \"2001:db8::/64\"]
    toPorts: [{ports: [{port: \"22\", protocol: TCP}]}]
";

const OPEN: u16 = 22;
const CLOSED: u16 = 80;
const GENERATION: u32 = 100;

/// An emulated processor may take long for what arrives, and what does not
/// arrive must outlast the first repetition of a SYN.
const PATIENCE: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_millis(1_500);

/// Filters a device and lets packets run over it; how it was attached.
pub(crate) fn check(kernel: &mut Kernel) -> anyhow::Result<How> {
    let peer = lay_cable()?;
    let listeners = [listen(OPEN)?, listen(CLOSED)?];
    for address in HERE {
        ensure!(reaches(&peer, address, CLOSED, PATIENCE), "{address} is not reached at all");
    }
    let compiled = policies::compile_for(POLICY, &HERE, GENERATION)?;
    let slot = kernel.load(&compiled.words, &HERE)?;
    kernel.switch(ControlWord::confirmed(InForce { slot, audit: false }))?;
    let ifindex = Network::here()?.index("lan0")?;
    let attached = kernel.attach(ifindex, "lan0", Layer::Ethernet)?;
    ensure!(
        attached.ingress.program.is_some() && attached.egress.program.is_some(),
        "a hook is empty: {attached:?}"
    );
    let tcx = Feature::Tcx.is_there().context("tcx cannot be tried")?;
    ensure!((attached.how == How::Tcx) == tcx, "{attached:?}, and tcx is there: {tcx}");

    for (address, from) in HERE.into_iter().zip(THERE) {
        talk(&peer, &listeners[0], address)?;
        let before = denied(kernel)?;
        ensure!(!reaches(&peer, address, CLOSED, SILENCE), "{address}: a denied SYN arrived");
        ensure!(denied(kernel)? > before, "{address}: no denied packet was counted");
        answers_return(&peer, address, from)?;
    }
    kernel.detach(ifindex)?;
    // A removed link leaves its device a moment later.
    let deadline = Instant::now() + PATIENCE;
    while !reaches(&peer, HERE[0], CLOSED, SILENCE) {
        ensure!(Instant::now() < deadline, "the programs are still on the device");
    }
    Ok(attached.how)
}

/// A pair of devices, one end here and one in a namespace of its own.
fn lay_cable() -> anyhow::Result<Namespace> {
    let peer = Namespace::new()?;
    let network = Network::here()?;
    network.pair("lan0", "lan1")?;
    network.send_away("lan1", peer.descriptor())?;
    set_up(&network, "lan0", HERE)?;
    peer.inside(|| set_up(&Network::here()?, "lan1", THERE))?;
    Ok(peer)
}

fn set_up(network: &Network, device: &str, addresses: [IpAddr; 2]) -> anyhow::Result<()> {
    for (address, prefix) in addresses.into_iter().zip([24, 64]) {
        network.address(device, address, prefix)?;
    }
    network.up(device)
}

/// A server for both families.
fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("listen at {port}"))
}

/// True when the peer's handshake completes; the backlog of a listener is enough
/// for that.
fn reaches(peer: &Namespace, address: IpAddr, port: u16, limit: Duration) -> bool {
    let target = SocketAddr::new(address, port);
    peer.inside(|| TcpStream::connect_timeout(&target, limit)).is_ok()
}

/// One byte each way over an allowed connection.
fn talk(peer: &Namespace, listener: &TcpListener, address: IpAddr) -> anyhow::Result<()> {
    let target = SocketAddr::new(address, OPEN);
    let mut client = peer
        .inside(|| TcpStream::connect_timeout(&target, PATIENCE))
        .with_context(|| format!("{target}: an allowed SYN got no answer"))?;
    let (mut server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_read_timeout(Some(PATIENCE))?;
    }
    let mut byte = [0];
    client.write_all(b"?")?;
    server.read_exact(&mut byte).context("a byte of an allowed connection")?;
    server.write_all(b"!")?;
    client.read_exact(&mut byte).context("the answer on an allowed connection")?;
    Ok(())
}

/// A datagram that this host sends brings an answer in, and another peer's port
/// does not profit from that.
fn answers_return(peer: &Namespace, here: IpAddr, there: IpAddr) -> anyhow::Result<()> {
    let ours = UdpSocket::bind((here, 0))?;
    let asked = peer.inside(|| UdpSocket::bind((there, 53)))?;
    let other = peer.inside(|| UdpSocket::bind((there, 54)))?;
    asked.set_read_timeout(Some(PATIENCE))?;
    ours.send_to(b"?", (there, 53))?;
    let mut byte = [0];
    let (_, from) = asked.recv_from(&mut byte).context("a datagram of this host")?;
    other.send_to(b"-", from)?;
    asked.send_to(b"!", from)?;
    ours.set_read_timeout(Some(PATIENCE))?;
    let (_, first) = ours.recv_from(&mut byte).context("the answer to a datagram")?;
    ensure!(first.port() == 53, "a datagram that nobody asked for arrived");
    Ok(())
}

/// Packets that the default denied on ingress so far.
fn denied(kernel: &Kernel) -> anyhow::Result<u64> {
    let counts = kernel.reason_counts()?;
    let denied = counts.iter().find(|(direction, reason, _)| {
        *direction == Direction::Ingress && *reason == Reason::DefaultDeny
    });
    Ok(denied.map_or(0, |(.., counts)| counts.packets))
}

//! The host that both sides see: a forwarding one, with one connection of each
//! direction and one address that no image lists.

use std::{
    collections::BTreeMap,
    net::{IpAddr, TcpListener, TcpStream},
};

use hostfw_daemon::kernel::{Socket, SocketState};
use hostfw_datapath::{
    Address,
    flow::FlowKey,
    model::Model,
    packet::Layer,
    parse::protocol,
    sketch::{self, Content},
    tables::Opener,
};

use crate::{
    network::{self, Network},
    packets::{Case, OWN_V4, OWN_V6, UNLISTED_V4},
};

/// The host's state; its connection ends with it.
pub struct Host {
    /// What a daemon would list.
    pub sockets: Vec<Socket>,
    openers: BTreeMap<FlowKey, Opener>,
    _streams: [TcpStream; 2],
    _listener: TcpListener,
}

impl Host {
    /// Sets up the network namespace of the calling thread, a fresh one.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn new() -> anyhow::Result<Self> {
        let network = Network::here()?;
        network.pair("out0", "out1")?;
        network.up("out1")?;
        network.up("out0")?;
        for address in [OWN_V4[0], OWN_V4[1], UNLISTED_V4] {
            network.address("lo", IpAddr::V4(address), 32)?;
        }
        for address in OWN_V6 {
            network.address("lo", IpAddr::V6(address), 128)?;
        }
        network.default_routes("out0")?;
        for setting in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            network::set(setting, "1")?;
        }
        let listener = TcpListener::bind((OWN_V4[0], 443))?;
        let stream = TcpStream::connect((OWN_V4[0], 443))?;
        let (other, _) = listener.accept()?;
        let here = stream.local_addr()?.port();
        Ok(Self {
            sockets: vec![socket(here, 443), socket(443, here)],
            openers: [(key(here, 443), Opener::Host), (key(443, here), Opener::Peer)].into(),
            _streams: [stream, other],
            _listener: listener,
        })
    }

    /// What the native build is told of the host.
    pub fn model(&self) -> Model {
        let model = Model {
            forwarding: true,
            delivered: [Address::from(IpAddr::V4(UNLISTED_V4))].into(),
            sockets: self.openers.clone(),
            ..Model::default()
        };
        for socket in &self.sockets {
            model.opened.borrow_mut().insert((protocol::TCP, socket.local_port));
        }
        model
    }

    /// Packets of the live connection, from and to both of its ends.
    pub fn talk(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for socket in &self.sockets {
            for (flags, egress) in [(0x10u8, false), (0x10, true), (0x04, false), (0x12, true)] {
                let (from, to) = if egress {
                    (socket.local_port, socket.remote_port)
                } else {
                    (socket.remote_port, socket.local_port)
                };
                let content = Content::Tcp { from, to, flags };
                let bytes = sketch::ethernet(socket.remote, socket.local, content);
                cases.push(Case { bytes, layer: Layer::Ethernet, egress, forwarded: false });
            }
        }
        cases
    }
}

fn key(local_port: u16, remote_port: u16) -> FlowKey {
    FlowKey {
        local: Address::from(IpAddr::V4(OWN_V4[0])),
        remote: Address::from(IpAddr::V4(OWN_V4[0])),
        local_port,
        remote_port,
        protocol: protocol::TCP,
        zero: [0; 3],
    }
}

fn socket(local_port: u16, remote_port: u16) -> Socket {
    Socket {
        protocol: protocol::TCP,
        local: IpAddr::V4(OWN_V4[0]),
        local_port,
        remote: IpAddr::V4(OWN_V4[0]),
        remote_port,
        state: SocketState::Connected,
    }
}

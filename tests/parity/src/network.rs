//! Devices, addresses and routes of the calling thread's network namespace, set
//! over netlink: the same code runs where there is no `ip` command.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
    thread,
};

use anyhow::{Context, bail};
use netlink_packet_route::address::AddressHeaderFlags;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime::{Builder, Runtime};

/// A netlink socket in one network namespace.
pub struct Network {
    runtime: Runtime,
    handle: Handle,
}

impl Network {
    /// Opens the namespace that the calling thread is in.
    ///
    /// # Errors
    /// Without netlink.
    pub fn here() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (connection, handle, _) = {
            let _entered = runtime.enter();
            rtnetlink::new_connection().context("open netlink")?
        };
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// Makes a pair of devices that hand each other their packets.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn pair(&self, one: &str, other: &str) -> anyhow::Result<()> {
        let pair = self.handle.link().add(LinkVeth::new(one, other).build());
        self.runtime.block_on(pair.execute()).context("make a pair of devices")
    }

    /// Moves a device into another network namespace.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn send_away(&self, device: &str, namespace: BorrowedFd<'_>) -> anyhow::Result<()> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(self.index(device)?)
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        self.runtime
            .block_on(self.handle.link().set(message).execute())
            .with_context(|| format!("move {device}"))
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn up(&self, device: &str) -> anyhow::Result<()> {
        let message =
            LinkMessageBuilder::<LinkUnspec>::new().index(self.index(device)?).up().build();
        self.runtime
            .block_on(self.handle.link().set(message).execute())
            .with_context(|| format!("set {device} up"))
    }

    /// Gives a device an address that can be used at once.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn address(&self, device: &str, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        let index = self.index(device)?;
        let mut request = self.handle.address().add(index, address, prefix);
        if address.is_ipv6() {
            // Nobody else has it; without this it waits for a second.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        self.runtime.block_on(request.execute()).with_context(|| format!("{address} on {device}"))
    }

    /// Sends what no other route takes to a device, in both families.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn default_routes(&self, device: &str) -> anyhow::Result<()> {
        let index = self.index(device)?;
        let routes = [
            RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).build(),
            RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).build(),
        ];
        for route in routes {
            self.runtime
                .block_on(self.handle.route().add(route).execute())
                .with_context(|| format!("a route to {device}"))?;
        }
        Ok(())
    }

    /// The index of a device.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn index(&self, device: &str) -> anyhow::Result<u32> {
        let name = std::ffi::CString::new(device)?;
        // SAFETY: a valid string with its end.
        match unsafe { libc::if_nametoindex(name.as_ptr()) } {
            0 => bail!("there is no device {device}"),
            index => Ok(index),
        }
    }
}

/// Sets a kernel setting of the calling thread's namespaces, named as sysctl(8)
/// names it.
///
/// # Errors
/// When there is no such setting.
pub fn set(setting: &str, value: &str) -> anyhow::Result<()> {
    let path = Path::new("/proc/sys").join(setting.replace('.', "/"));
    std::fs::write(&path, value).with_context(|| format!("set {setting}"))
}

/// A network namespace beside the one of the calling thread.
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A fresh one; it ends with this value.
    ///
    /// # Errors
    /// Without root.
    pub fn new() -> io::Result<Self> {
        let made = thread::spawn(|| {
            // SAFETY: the call changes only the namespace of this thread.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            File::open("/proc/thread-self/ns/net")
        });
        Ok(Self { file: joined(made.join())? })
    }

    /// For [`Network::send_away`].
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs something in it, on a thread of its own. Sockets that were opened
    /// inside stay inside.
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // SAFETY: the borrow keeps the descriptor open over the call.
                let entered = unsafe { libc::setns(self.file.as_raw_fd(), libc::CLONE_NEWNET) };
                assert!(entered == 0, "a namespace of ours: {}", io::Error::last_os_error());
                run()
            });
            joined(inside.join())
        })
    }
}

/// A panic of another thread goes on in this one.
fn joined<T>(outcome: thread::Result<T>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

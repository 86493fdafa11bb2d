//! The kernel side of the data path: sections and maps, and nothing that decides.
//!
//! What a packet's fate is stands in `hostfw-datapath`; this program only gives
//! it the packet and the maps.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel {
    use aya_ebpf::{macros::classifier, programs::TcContext};

    /// Lets every packet through to the next program.
    #[classifier]
    pub fn hostfw_in_eth(_packet: TcContext) -> i32 {
        -1
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 4] = *b"GPL\0";
}

/// Lets the host's own tools (clippy, rust-analyzer) see this package.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

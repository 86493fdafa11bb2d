//! The image of a generation in the kernel's memory, and the walks through it,
//! each a function that the verifier reads once (decision 6).

use core::ptr::NonNull;

use hostfw_datapath::{
    Address, Direction, Image,
    image::{self, NodeHead, POINTER, Passage, Question},
    verdict::Answer,
};

use crate::{
    maps::{self, IMAGES, Words},
    skb::opaque,
};

/// One generation in the kernel's memory.
#[derive(Clone, Copy)]
pub(crate) struct Generation {
    words: NonNull<Words>,
    slot: u32,
}

impl Generation {
    /// The image in a slot.
    #[inline(always)]
    pub(crate) fn of(slot: u32) -> Option<Self> {
        IMAGES.get(slot).map(|words| Self { words: NonNull::from(words), slot })
    }
}

impl Image for Generation {
    #[inline(always)]
    fn header(&self, at: u32) -> u32 {
        // SAFETY: the pointer came from the outer map in this program run.
        match unsafe { self.words.as_ref() }.get_ptr(0) {
            // SAFETY: every element has room for a header, and callers name its words.
            Some(window) => unsafe { *window.cast::<u32>().add(at as usize) },
            None => 0,
        }
    }

    #[inline(always)]
    fn word(&self, at: u32) -> u32 {
        let bits = maps::window_bits();
        // SAFETY: the pointer came from the outer map in this program run.
        let Some(window) = unsafe { self.words.as_ref() }.get_ptr(at >> bits) else { return 0 };
        let inside = at & ((1 << bits) - 1);
        // SAFETY: an element has that many words.
        unsafe { *window.cast::<u32>().add(inside as usize) }
    }

    #[inline(always)]
    fn head(&self, at: u32) -> Option<NodeHead> {
        let bits = maps::window_bits();
        // Nodes begin with a unit, so that no head lies in two windows.
        let at = at & !(image::NODE_UNIT - 1);
        // SAFETY: the pointer came from the outer map in this program run.
        let window = unsafe { self.words.as_ref() }.get_ptr(at >> bits)?;
        let inside = at & ((1 << bits) - 1);
        // SAFETY: an element has that many words, and whole units.
        Some(unsafe { *window.cast::<u32>().add(inside as usize).cast() })
    }

    #[inline(always)]
    fn below<const V6: bool>(&self, word: u32, address: &Address) -> u32 {
        if V6 {
            hostfw_below_v6(self.slot, word, address.high, address.low)
        } else {
            hostfw_below_v4(self.slot, word, address.low32())
        }
    }

    #[inline(always)]
    fn find(&self, question: Question) -> u32 {
        let Question { subject: _, direction, peer_class, protocol, port } = question;
        hostfw_find(self.slot, peer_class, what(direction, protocol, port))
    }

    #[inline(always)]
    fn find_forward(&self, passage: &Passage) -> u32 {
        let Passage { sender, destination, protocol, port } = *passage;
        let nobody = Address { high: 0, low: 0 };
        let Address { high, low } = sender.unwrap_or(nobody);
        let about = u64::from(what(Direction::Egress, protocol, port))
            | u64::from(self.slot & 0xff) << 32
            | u64::from(sender.is_some()) << 40;
        hostfw_find_forward(about, high, low, destination.high, destination.low)
    }

    #[inline(always)]
    fn answer(&self, direction: Direction, address: &Address, protocol: u8, port: u16) -> Answer {
        let what = what(direction, protocol, port);
        Answer::from_word(hostfw_answer(self.slot, what, address.high, address.low))
    }
}

/// Steps from the root of a trie that the short way takes itself: most words are that
/// near, and a call takes as long as two.
const NEAR_STEPS_V4: u32 = 2;
const NEAR_STEPS_V6: u32 = 3;

/// The same where the whole image is one element: a word is one load.
#[derive(Clone, Copy)]
pub(crate) struct Flat {
    generation: Generation,
    start: NonNull<u32>,
    words: u64,
}

impl Flat {
    /// The image in a slot; `None` where images are kept in windows.
    #[inline(always)]
    pub(crate) fn of(slot: u32) -> Option<Self> {
        if maps::windows() != 1 {
            return None;
        }
        let generation = Generation::of(slot)?;
        // SAFETY: the pointer came from the outer map in this program run.
        let window = unsafe { generation.words.as_ref() }.get(0)?;
        let start = NonNull::from(window).cast();
        Some(Self { generation, start, words: 1 << maps::window_bits() })
    }
}

impl Image for Flat {
    #[inline(always)]
    fn header(&self, at: u32) -> u32 {
        // SAFETY: every element has room for a header, and callers name its words.
        unsafe { *self.start.as_ptr().add(at as usize) }
    }

    #[inline(always)]
    fn word(&self, at: u32) -> u32 {
        // One register for the check and for the load, see `Skb::read`.
        let at = opaque(u64::from(at));
        if at >= self.words {
            return 0;
        }
        // SAFETY: the element has that many words.
        unsafe { *self.start.as_ptr().add(at as usize) }
    }

    #[inline(always)]
    fn pair(&self, at: u32) -> [u32; 2] {
        let at = opaque(u64::from(at));
        if at >= self.words - 1 {
            return [0; 2];
        }
        // SAFETY: the element has that many words.
        unsafe {
            [*self.start.as_ptr().add(at as usize), *self.start.as_ptr().add(at as usize + 1)]
        }
    }

    #[inline(always)]
    fn head(&self, at: u32) -> Option<NodeHead> {
        let at = opaque(u64::from(at));
        if at >= self.words - u64::from(image::NODE_UNIT - 1) {
            return None;
        }
        // SAFETY: the element has that many words.
        Some(unsafe { *self.start.as_ptr().add(at as usize).cast() })
    }

    #[inline(always)]
    fn find(&self, question: Question) -> u32 {
        // Trees are for hosts with very many rules: not in the way of others.
        match image::find_dense(self, question) {
            Some(index) => index,
            None => self.generation.find(question),
        }
    }

    #[inline(always)]
    fn verdict(&self, index: u32) -> (Answer, u32) {
        // One load less for the counter to wait for.
        match image::plain_verdict(self, index) {
            Some(known) => known,
            None => image::verdict(self, index),
        }
    }

    #[inline(always)]
    fn below<const V6: bool>(&self, word: u32, address: &Address) -> u32 {
        let mut word = word;
        for _ in 0..if V6 { NEAR_STEPS_V6 } else { NEAR_STEPS_V4 } {
            word = image::step::<V6, _>(self, word, address);
            if word & POINTER == 0 {
                return word;
            }
        }
        self.generation.below::<V6>(word, address)
    }

    #[inline(always)]
    fn peer_aside(&self, address: &Address) -> u32 {
        image::peer(&self.generation, address)
    }

    #[inline(always)]
    fn answer(&self, direction: Direction, address: &Address, protocol: u8, port: u16) -> Answer {
        self.generation.answer(direction, address, protocol, port)
    }
}

/// Direction, protocol and port in one word, from bit 24, 16 and 0.
#[inline(always)]
fn what(direction: Direction, protocol: u8, port: u16) -> u32 {
    ((direction as u32) << 24) | (u32::from(protocol) << 16) | u32::from(port)
}

/// The direction in a word of [`what`].
#[inline(always)]
fn direction(what: u32) -> Direction {
    if what >> 24 == 0 { Direction::Ingress } else { Direction::Egress }
}

/// The walk to the peer word of an IPv4 address as a global function: the verifier
/// reads it once, with any arguments, and not on every path that calls it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_below_v4(slot: u32, word: u32, address: u32) -> u32 {
    below::<false>(slot, word, &Address::v4(address))
}

/// The same for IPv6.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_below_v6(slot: u32, word: u32, high: u64, low: u64) -> u32 {
    below::<true>(slot, word, &Address { high, low })
}

#[inline(always)]
fn below<const V6: bool>(slot: u32, word: u32, address: &Address) -> u32 {
    if let Some(image) = Flat::of(slot) {
        return image::walk_trie::<V6, _>(&image, word, address);
    }
    match Generation::of(slot) {
        Some(image) => image::walk_trie::<V6, _>(&image, word, address),
        None => 0,
    }
}

/// The walk to a verdict, likewise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_find(slot: u32, peer_class: u32, what: u32) -> u32 {
    let (protocol, port) = ((what >> 16) as u8, what as u16);
    let direction = direction(what);
    let question = Question { subject: image::HOST, direction, peer_class, protocol, port };
    if let Some(image) = Flat::of(slot) {
        return image::walk(&image, question);
    }
    match Generation::of(slot) {
        Some(image) => image::walk(&image, question),
        None => 0,
    }
}

/// The walk for what is forwarded, likewise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_find_forward(
    about: u64,
    sender_high: u64,
    sender_low: u64,
    high: u64,
    low: u64,
) -> u32 {
    let Some(generation) = Generation::of((about >> 32) as u32 & 0xff) else { return 0 };
    let sender = Address { high: sender_high, low: sender_low };
    let passage = Passage {
        sender: if about & (1 << 40) == 0 { None } else { Some(sender) },
        destination: Address { high, low },
        protocol: (about >> 16) as u8,
        port: about as u16,
    };
    image::find_forward(&generation, &passage)
}

/// An answer for a packet that is only thought of, likewise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_answer(slot: u32, what: u32, high: u64, low: u64) -> u32 {
    let Some(generation) = Generation::of(slot) else { return 0 };
    let (protocol, port) = ((what >> 16) as u8, what as u16);
    let address = Address { high, low };
    image::answer(&generation, direction(what), &address, protocol, port) as u32
}

//! What benchmarks measure beside packets: one look-up of an image after the
//! other, as the short way has them, and the same without the look-up, to be
//! subtracted. Loaded by benchmarks alone, and never attached.
//!
//! Each question depends on the last answer, so that no two look-ups overlap
//! and what is not in a cache is waited for. State and parameters stand in the
//! packet, which the test runner keeps from run to run and hands back: the slot
//! in its mark; in the words of its control block the state of the generator (two
//! of them), how many answers were wrong, how many different questions there
//! are, and the class of the first peer of rules, or how many words lie between two
//! places.

use core::hint::black_box;

use aya_ebpf::{macros::classifier, programs::TcContext};
use hostfw_datapath::{
    Address, Direction, Image, drawn,
    image::{self, Question},
};

use crate::generation::Flat;

/// Look-ups in one run.
const TURNS: u32 = 16;

/// Number of the protocol of all rules.
const TCP: u8 = 6;

/// Asks [`TURNS`] questions; `ask` takes the number of a question and the last
/// parameter, and gives 0 where the answer is right.
#[inline(always)]
fn turns(context: &TcContext, ask: impl Fn(&Flat, u32, u32) -> u32) -> i32 {
    let raw = context.skb.skb;
    // SAFETY: the kernel hands every program run one valid context.
    let (slot, [low, high, mut wrong, count, first_class]) = unsafe { ((*raw).mark, (*raw).cb) };
    let Some(image) = Flat::of(slot) else { return 0 };
    let mut state = u64::from(high) << 32 | u64::from(low);
    for _ in 0..TURNS {
        let answer = ask(&image, drawn::number(state, count), first_class);
        wrong += u32::from(answer != 0);
        state = drawn::next(state, answer);
    }
    // SAFETY: the control block belongs to the program that runs.
    unsafe {
        (*raw).cb[0] = state as u32;
        (*raw).cb[1] = (state >> 32) as u32;
        (*raw).cb[2] = wrong;
    }
    0
}

/// The word of an IPv4 address.
#[classifier]
pub(crate) fn hostfw_look_v4(context: TcContext) -> i32 {
    turns(&context, |image, number, _| {
        let address = black_box(drawn::prefix_v4(number).0);
        image::peer(image, &Address::v4(address)) ^ (number + 1)
    })
}

/// Without the look-up.
#[classifier]
pub(crate) fn hostfw_draw_v4(context: TcContext) -> i32 {
    turns(&context, |_, number, _| {
        let address = drawn::prefix_v4(number).0;
        black_box(address) ^ address
    })
}

/// The word of an IPv6 address.
#[classifier]
pub(crate) fn hostfw_look_v6(context: TcContext) -> i32 {
    turns(&context, |image, number, _| {
        let Address { high, low } = drawn::prefix_v6(number).0;
        image::peer(image, &Address { high: black_box(high), low }) ^ (number + 1)
    })
}

/// Without the look-up.
#[classifier]
pub(crate) fn hostfw_draw_v6(context: TcContext) -> i32 {
    turns(&context, |_, number, _| {
        let Address { high, low } = drawn::prefix_v6(number).0;
        let same = black_box(high) ^ high;
        (same | black_box(low) ^ low) as u32
    })
}

/// The verdict for a peer class and a port.
#[classifier]
pub(crate) fn hostfw_look_rule(context: TcContext) -> i32 {
    turns(&context, |image, number, first_class| {
        let (peer, port) = drawn::rule(number);
        let question = Question {
            subject: image::HOST,
            direction: Direction::Ingress,
            peer_class: black_box(first_class + peer),
            protocol: TCP,
            port,
        };
        image.verdict(image.find(question)).1 ^ number
    })
}

/// Without the look-up.
#[classifier]
pub(crate) fn hostfw_draw_rule(context: TcContext) -> i32 {
    turns(&context, |_, number, first_class| {
        let (peer, port) = drawn::rule(number);
        let class = first_class + peer;
        (black_box(class) ^ class) | u32::from(black_box(port) ^ port)
    })
}

/// A word at one of as many places, spread over the image: the least that an answer
/// from memory of that size can take.
#[classifier]
pub(crate) fn hostfw_touch(context: TcContext) -> i32 {
    turns(&context, |image, number, apart| {
        let [word, _] = image.pair(number.wrapping_mul(apart));
        black_box(word) ^ word
    })
}

/// Without the word.
#[classifier]
pub(crate) fn hostfw_draw_touch(context: TcContext) -> i32 {
    turns(&context, |_, number, apart| {
        let place = number.wrapping_mul(apart);
        black_box(place) ^ place
    })
}

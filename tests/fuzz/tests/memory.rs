//! What reading may cost: memory follows the limits of a file, not what the file
//! asks for.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt::Write as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use hostfw_policy::{Dialect, Severity, Source, read_policies};

/// Counts what is in use, and the most that ever was.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that reading one file may take.
const BOUND: usize = 1 << 30;

// One test, so that nothing else allocates at the same time.
#[test]
fn a_million_rules_are_refused_and_a_hundred_thousand_are_read_within_a_gibibyte() {
    for (n_rules, is_read) in [(1_000_000u32, false), (100_000, true)] {
        let source = Source::new("p.yaml", rules(n_rules));
        let before = IN_USE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let (policies, complaints) = read_policies(&[source], &Dialect::default());
        let peak = PEAK.load(Ordering::Relaxed) - before;
        let errors: Vec<_> =
            complaints.iter().filter(|one| one.severity == Severity::Error).collect();
        assert_eq!(errors.is_empty(), is_read, "{n_rules} rules: {errors:?}");
        assert_eq!(policies.first().map_or(0, |one| one.specs[0].rules.len()) > 0, is_read);
        if !is_read {
            assert!(["yaml-limits", "file-too-large"].contains(&errors[0].code), "{errors:?}");
        }
        assert!(peak < BOUND, "{n_rules} rules took {} MiB", peak >> 20);
    }
    // An alias bomb: nine levels of nine are four hundred million nodes.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let one = format!("*a{}", level - 1);
        let all = vec![one; 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{all}]").expect("a string");
    }
    let source = Source::new("p.yaml", bomb);
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let (_, complaints) = read_policies(&[source], &Dialect::default());
    assert_eq!(complaints.iter().map(|one| one.code).collect::<Vec<_>>(), ["yaml-limits"]);
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert!(peak < BOUND / 16, "a bomb took {} MiB", peak >> 20);
}

fn rules(n_rules: u32) -> String {
    let mut text = String::from(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\n\
         spec:\n  nodeSelector: {}\n  ingress:\n",
    );
    for n in 0..n_rules {
        let [_, a, b, c] = n.to_be_bytes();
        writeln!(
            text,
            "  - {{fromCIDR: [10.{a}.{b}.{c}/32], toPorts: [{{ports: [{{port: \"22\", protocol: TCP}}]}}]}}"
        )
        .expect("a string");
    }
    text
}

//! What reading and compiling cost, and how both grow with rules and peers:
//! `cargo bench -p hostfw-policy`.

#![expect(clippy::print_stdout, reason = "sizes are part of the result")]

mod cluster;

use cluster::{Size, options, sources, this_node, world};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hostfw_policy::{Dialect, compile, read_policies};

const SIZES: [Size; 4] = [
    Size { rules: 100, pods: 500, nodes: 50, namespaces: 5 },
    Size { rules: 1_000, pods: 5_000, nodes: 500, namespaces: 50 },
    Size { rules: 10_000, pods: 50_000, nodes: 5_000, namespaces: 200 },
    Size { rules: 100_000, pods: 50_000, nodes: 5_000, namespaces: 1_000 },
];

fn growth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    group.sample_size(10);
    for size in SIZES {
        let (files, world) = (sources(size), world(size));
        let (policies, _) = read_policies(&files, &Dialect::default());
        let (node, options) = (this_node(), options());
        let id = |what: &str| BenchmarkId::new(what, size.rules);
        group.bench_function(id("read"), |b| {
            b.iter(|| read_policies(&files, &Dialect::default()));
        });
        group.bench_function(id("compile"), |b| {
            b.iter(|| compile(&policies, &world, &node, &options, 1).expect("fits"));
        });
        let compiled = compile(&policies, &world, &node, &options, 1).expect("fits");
        println!(
            "{} rules: {} subjects, {} KiB",
            size.rules,
            compiled.subjects.len(),
            compiled.words.len() / 256
        );
    }
}

criterion_group!(benches, growth);
criterion_main!(benches);

//! What reading and compiling cost, and how both grow with rules and peers:
//! `cargo bench -p hostfw-policy`.

#![expect(clippy::print_stdout, reason = "sizes are part of the result")]

mod cluster;

use std::{net::IpAddr, sync::Arc};

use cluster::{PODS_EACH, Size, options, pod, sources, this_node, world};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hostfw_policy::{Changes, Dialect, PodChange, Standing, compile, read_policies};

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

/// A pod somewhere in the cluster comes, and goes again: what it costs to have
/// the next image.
fn pods(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pod");
    group.sample_size(20);
    for size in SIZES {
        let (files, world) = (sources(size), world(size));
        let (policies, _) = read_policies(&files, &Dialect::default());
        let (node, options) = (this_node(), options());
        // One of another node with labels of its own, and one like its
        // neighbours on this node.
        for (what, local) in [("elsewhere", false), ("here", true)] {
            let number = if local { 0 } else { PODS_EACH };
            let (key, mut pod) = pod(number, size);
            pod.addresses =
                [IpAddr::from([10, 250, 1, 1]), IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, 1])].into();
            let key = (key.0, format!("{}-new", key.1));
            Arc::make_mut(&mut pod.workload).labels.insert("hash".to_owned(), "new".to_owned());
            let mut after = world.clone();
            after.pods.insert(key.clone(), pod.clone().into());
            let change =
                |before, after| PodChange { namespace: &key.0, name: &key.1, before, after };
            let mut standing =
                Some(Standing::new(&policies, &world, &node, &options, 1).expect("fits"));
            let (mut generation, mut n_whole) = (1, 0u32);
            group.bench_function(BenchmarkId::new(what, size.rules), |b| {
                b.iter(|| {
                    let comes = generation % 2 == 1;
                    generation += 1;
                    let (change, world) = if comes {
                        (change(None, Some(&pod)), &after)
                    } else {
                        (change(Some(&pod), None), &world)
                    };
                    let before = standing.take().expect("there is one");
                    let changes = Changes { pods: vec![change], ..Changes::default() };
                    let next = before.follow(&changes, world, &node, &options, generation);
                    // The growing image is compiled anew now and then; that is
                    // part of the price.
                    standing = Some(next.unwrap_or_else(|| {
                        n_whole += 1;
                        Standing::new(&policies, world, &node, &options, generation).expect("fits")
                    }));
                });
            });
            println!("{what}: {n_whole} of {generation} were compiled as a whole");
        }
    }
}

criterion_group!(benches, growth, pods);
criterion_main!(benches);

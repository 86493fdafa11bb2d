//! Which pods policies select, wherever they run: for listings. The compiler
//! asks the same index about the pods of its own node.

use crate::{
    identity::pod_labels,
    node::Options,
    policy::{Policy, Subjects},
    selector_index::SelectorIndex,
    world::World,
};

/// A pod by its namespace and name.
pub type PodName<'w> = (&'w str, &'w str);

/// For each policy the known pods that it selects, in their order; of one node
/// where one is named.
pub fn selected_pods<'w>(
    policies: &[Policy],
    world: &'w World,
    node: Option<&str>,
    options: &Options,
) -> Vec<Vec<PodName<'w>>> {
    let mut selectors = Vec::new();
    for (policy, number) in policies.iter().zip(0u32..) {
        for spec in policy.specs.iter() {
            if let Subjects::Pods(selector) = &spec.subjects {
                selectors.push((selector.clone(), number));
            }
        }
    }
    let index = SelectorIndex::new(selectors);
    let mut selected = vec![Vec::new(); policies.len()];
    for ((namespace, name), pod) in &world.pods {
        if node.is_some_and(|node| pod.node.as_deref() != Some(node)) {
            continue;
        }
        let mut found = Vec::new();
        index.selecting(&pod_labels(namespace, pod, world, options), &mut found);
        found.sort_unstable();
        found.dedup();
        for number in found {
            let pods = usize::try_from(number).ok().and_then(|at| selected.get_mut(at));
            if let Some(pods) = pods {
                pods.push((namespace.as_str(), name.as_str()));
            }
        }
    }
    selected
}

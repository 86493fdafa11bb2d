//! Ends of connections are read as they are written, and judged as the rules of
//! the language say.

use std::collections::BTreeMap;

use hostfw_policy::{
    Dialect, Options, Source, ThisNode, World,
    atlas::{Atlas, AtlasError, End},
    read_policies,
    world::{Pod, Workload},
};

#[test]
fn labels_mean_the_first_pod_that_has_all_of_them() {
    let read = |text: &str| End::read(text, &world(), &ThisNode::default());
    let pod = |name: &str| Ok(End::Pod("shop".to_owned(), name.to_owned()));
    assert_eq!(read("app=web"), pod("web-0"));
    assert_eq!(read("app=web, role="), pod("web-1"));
    assert_eq!(read("app=db"), Err(AtlasError::Unknown("app=db".to_owned())));
}

#[test]
fn what_is_no_label_among_labels_is_refused() {
    for (list, part) in [
        ("app=web,nonsense", "nonsense"),
        ("nonsense,app=web", "nonsense"),
        ("app=web,", ""),
        ("=web", "=web"),
        ("app=web, =", "="),
    ] {
        let refused = AtlasError::NoLabel { part: part.to_owned(), list: list.to_owned() };
        assert_eq!(End::read(list, &world(), &ThisNode::default()), Err(refused), "{list}");
    }
}

#[test]
fn a_listener_with_a_priority_comes_before_every_other_proxy() {
    let listener = |priority: &str| {
        format!("listener: {{envoyConfig: {{name: e}}, name: l, priority: {priority}}}")
    };
    let http = "rules: {http: [{path: /}]}";
    let names = "serverNames: [www.example.com]";
    let plain = "listener: {envoyConfig: {name: e}, name: l}";
    // Without a priority it comes last; the place in the file decides nothing.
    assert_eq!(deciding([http, plain]), 0);
    assert_eq!(deciding([plain, http]), 1);
    assert_eq!(deciding([names, plain]), 0);
    for priority in ["1", "100"] {
        assert_eq!(deciding([http, &listener(priority)]), 1, "{priority}");
        assert_eq!(deciding([&listener(priority), http]), 0, "{priority}");
        assert_eq!(deciding([names, &listener(priority)]), 1, "{priority}");
        assert_eq!(deciding([plain, &listener(priority)]), 1, "{priority}");
    }
    assert_eq!(deciding([&listener("7"), &listener("8")]), 0);
    assert_eq!(deciding([&listener("8"), &listener("7")]), 1);
}

/// Which of two rules decides what web-0 sends to web-1, where both match: their
/// peers are named differently, so that they do not contradict each other.
fn deciding(proxies: [&str; 2]) -> u32 {
    let rule = |peers: &str, proxy: &str| {
        format!(
            "  - {peers}\n    toPorts:\n    - ports: [{{port: \"80\", protocol: TCP}}]\n      \
             {proxy}\n"
        )
    };
    let [first, second] = proxies;
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n\
         metadata: {{name: p, namespace: shop}}\nspec:\n  endpointSelector: {{}}\n  egress:\n{}{}",
        rule("toEntities: [cluster]", first),
        rule("toEndpoints: [{matchLabels: {app: web}}]", second),
    );
    let source = Source::new("p.yaml", text);
    let (policies, complaints) = read_policies(&[source], &Dialect::default());
    assert_eq!(complaints, []);
    let (world, this) = (world(), ThisNode::default());
    let mut atlas = Atlas::new(&policies, &world, &this, &Options::default());
    let pod = |name: &str| End::Pod("shop".to_owned(), name.to_owned());
    let what = "tcp/80".parse().expect("a service");
    let judged = atlas.judge(&pod("web-0"), &pod("web-1"), what).expect("both are known");
    judged[0].rule.as_ref().expect("one decides").id
}

/// Two pods of a shop on one node.
fn world() -> World {
    let pod = |number: u8, labels: &[&str]| {
        let labels = labels.iter().map(|key| ((*key).to_owned(), String::new()));
        let mut labels: BTreeMap<String, String> = labels.collect();
        labels.insert("app".to_owned(), "web".to_owned());
        let addresses = [[192, 0, 2, number].into()].into();
        let workload = Workload { labels, ..Workload::default() }.into();
        Pod { workload, addresses, node: Some("n".to_owned()) }
    };
    let mut world = World::default();
    world.pods.insert(("shop".to_owned(), "web-0".to_owned()), pod(1, &[]).into());
    world.pods.insert(("shop".to_owned(), "web-1".to_owned()), pod(2, &["role"]).into());
    world
}

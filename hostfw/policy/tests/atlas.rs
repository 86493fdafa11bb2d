//! Ends of connections are read as they are written, and judged as the rules of
//! the language say.

use std::collections::BTreeMap;

use hostfw_policy::{
    ThisNode, World,
    atlas::{AtlasError, End},
    world::Pod,
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

/// Two pods of a shop on one node.
fn world() -> World {
    let pod = |number: u8, labels: &[&str]| {
        let labels = labels.iter().map(|key| ((*key).to_owned(), String::new()));
        let mut labels: BTreeMap<String, String> = labels.collect();
        labels.insert("app".to_owned(), "web".to_owned());
        let addresses = [[192, 0, 2, number].into()].into();
        Pod { labels, addresses, node: Some("n".to_owned()), ..Pod::default() }
    };
    let mut world = World::default();
    world.pods.insert(("shop".to_owned(), "web-0".to_owned()), pod(1, &[]));
    world.pods.insert(("shop".to_owned(), "web-1".to_owned()), pod(2, &["role"]));
    world
}

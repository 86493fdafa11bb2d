//! The directory of the world, read again and again. A pod comes, and one of a
//! hundred files has changed: what the others say is known. The result is what
//! reading everything anew gives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    complaint::{Complaint, Source},
    world::World,
    world_reader::{FileReading, ObjectName, Reader},
};

/// What the files of a directory said when they were read last.
#[derive(Debug, Default)]
pub struct WorldReadings {
    reader: Reader,
    files: BTreeMap<String, FileReading>,
}

impl WorldReadings {
    /// As [`crate::read_world`], where `before` are the files of the last call;
    /// nothing of it is believed when there are none.
    pub fn read(&mut self, sources: &[Source], before: &[Source]) -> (World, Vec<Complaint>) {
        let follows = !before.is_empty() && self.follow(sources, before).is_some();
        if !follows {
            self.read_all(sources);
        }
        let complaints = self.files.values().flat_map(|file| &file.complaints);
        (self.reader.world.clone(), complaints.cloned().collect())
    }

    fn read_all(&mut self, sources: &[Source]) {
        *self = Self::default();
        let mut in_order: Vec<&Source> = sources.iter().collect();
        in_order.sort_by(|left, right| left.path.cmp(&right.path));
        for source in in_order {
            self.files.insert(source.path.clone(), self.reader.file(source));
        }
    }

    /// Takes over what has changed. `None` where one file does not tell all
    /// about its objects, or something is wrong: then everything is to be read.
    fn follow(&mut self, sources: &[Source], before: &[Source]) -> Option<()> {
        let is_sound = |file: &FileReading| !file.adds_to_others && file.is_clean();
        let old: BTreeMap<&str, &[u8]> = by_path(before)?;
        let new: BTreeMap<&str, &[u8]> = by_path(sources)?;
        if !self.files.values().all(FileReading::is_clean) {
            return None;
        }
        // All that goes first: what moves from one file to another is no second
        // one of its name.
        let is_gone = |path: &&str| new.get(path) != old.get(path);
        let mut gone: BTreeSet<ObjectName> = BTreeSet::new();
        for path in old.keys().filter(|path| is_gone(path)) {
            let file = self.files.remove(*path).filter(is_sound)?;
            for name in file.names {
                self.reader.places.remove(&name);
                gone.insert(name);
            }
        }
        for source in sources.iter().filter(|source| is_gone(&source.path.as_str())) {
            let mut alone = Reader::default();
            let file = Some(alone.file(source)).filter(is_sound)?;
            for (name, place) in alone.places {
                gone.remove(&name);
                if self.reader.places.insert(name, place).is_some() {
                    return None;
                }
            }
            self.take(alone.world, &file.names);
            self.files.insert(source.path.clone(), file);
        }
        gone.iter().for_each(|name| self.remove(name));
        Some(())
    }

    /// Puts the objects of a file in place of those of the same names; what did
    /// not change is not touched. An object without a place in the world, such as
    /// a pod that has ended, leaves the one that it had.
    fn take(&mut self, found: World, names: &[ObjectName]) {
        for name @ (kind, written) in names {
            let is_there = match *kind {
                "Node" => found.nodes.contains_key(written.as_ref()),
                "Pod" => found.pods.contains_key(&pod_key(written)),
                _ => true,
            };
            if !is_there {
                self.remove(name);
            }
        }
        let world = &mut self.reader.world;
        for (key, pod) in &found.pods {
            if world.pods.get(key) != Some(pod) {
                world.pods.insert(key.clone(), Arc::clone(pod));
            }
        }
        world.nodes.extend(found.nodes);
        world.namespaces.extend(found.namespaces);
        world.cidr_groups.extend(found.cidr_groups);
    }

    fn remove(&mut self, (kind, name): &ObjectName) {
        let world = &mut self.reader.world;
        match *kind {
            "Node" => drop(world.nodes.remove(name.as_ref())),
            "Pod" => drop(world.pods.remove(&pod_key(name))),
            "Namespace" => drop(world.namespaces.remove(name.as_ref())),
            "CiliumCIDRGroup" => drop(world.cidr_groups.remove(name.as_ref())),
            // Files with others are read with all the rest.
            _ => {}
        }
    }
}

/// The files by their paths; `None` where two have one.
fn by_path(sources: &[Source]) -> Option<BTreeMap<&str, &[u8]>> {
    let files: BTreeMap<&str, &[u8]> =
        sources.iter().map(|source| (source.path.as_str(), source.bytes.as_slice())).collect();
    (files.len() == sources.len()).then_some(files)
}

fn pod_key(name: &str) -> (String, String) {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    (namespace.to_owned(), name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::read_world;

    proptest! {
        #[test]
        fn reading_again_is_reading_anew(
            steps in prop::collection::vec(
                prop::collection::vec((0..4_usize, prop::collection::vec(0..OBJECTS.len(), 0..4)), 1..3),
                1..12,
            ),
        ) {
            let mut readings = WorldReadings::default();
            let mut files: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            let mut before = Vec::new();
            for step in steps {
                files.extend(step);
                let now: Vec<Source> =
                    files.iter().map(|(file, objects)| source(*file, objects)).collect();
                prop_assert_eq!(readings.read(&now, &before), read_world(&now));
                before = now;
            }
        }
    }

    #[test]
    fn an_object_may_move_to_another_file() {
        let mut readings = WorldReadings::default();
        let before = [source(0, &[0, 4]), source(1, &[5])];
        readings.read(&before, &[]);
        let after = [source(0, &[4]), source(1, &[5, 0])];
        assert_eq!(readings.read(&after, &before), read_world(&after));
    }

    const OBJECTS: [&str; 11] = [
        "kind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.1}",
        "kind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.1, phase: Succeeded}",
        "kind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.2}",
        "kind: Pod\nmetadata: {name: b, namespace: other}\nstatus: {podIP: 10.0.0.3}",
        "kind: Node\nmetadata: {name: n}\nstatus: {addresses: [{type: InternalIP, address: 10.0.0.4}]}",
        "kind: Namespace\nmetadata: {name: other, labels: {a: b}}",
        "kind: CiliumCIDRGroup\nmetadata: {name: g}\nspec: {externalCIDRs: [192.0.2.0/24]}",
        "kind: Service\nmetadata: {name: s}\nspec: {selector: {app: a}}",
        "kind: Endpoints\nmetadata: {name: s}\nsubsets: [{addresses: [{ip: 10.0.0.5}]}]",
        "kind: Secret\nmetadata: {name: unused}",
        "kind: Pod\nmetadata: {}",
    ];

    fn source(file: usize, objects: &[usize]) -> Source {
        let text: String =
            objects.iter().map(|object| format!("---\n{}\n", OBJECTS[*object])).collect();
        Source { path: format!("{file}.yaml"), bytes: text.into_bytes() }
    }
}

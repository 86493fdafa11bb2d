//! The directory of the world, read again and again. A pod comes, and one
//! document in one of a hundred files has changed: what the others say is known.
//! The result is what reading everything anew gives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    complaint::{Complaint, Source},
    text::edit::Edit,
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
        // Of those that no pod shares any more, none is kept.
        self.reader.workloads.clear();
    }

    /// Takes over what has changed. `None` where one file does not tell all
    /// about its objects, or something is wrong: then everything is to be read.
    fn follow(&mut self, sources: &[Source], before: &[Source]) -> Option<()> {
        let is_sound = |file: &FileReading| !file.adds_to_others && file.is_clean();
        let (old, new) = (by_path(before)?, by_path(sources)?);
        if !self.files.values().all(FileReading::is_clean) {
            return None;
        }
        // All that goes first: what moves from one file to another is no second
        // one of its name.
        let is_gone = |path: &&str| new.get(path) != old.get(path);
        let mut gone: BTreeSet<ObjectName> = BTreeSet::new();
        let mut edited: BTreeMap<&str, (FileReading, Edit<'_>)> = BTreeMap::new();
        for (path, bytes) in old.iter().filter(|(path, _)| is_gone(path)) {
            let mut file = self.files.remove(*path).filter(is_sound)?;
            // A complaint would have to move too.
            let now = new.get(path).filter(|_| file.complaints.is_empty());
            let edit = now.and_then(|now| Edit::between(bytes, now));
            let names = match &edit {
                Some(edit) => self.cut(&mut file, edit),
                None => std::mem::take(&mut file.names),
            };
            for name in names {
                self.reader.places.remove(&name);
                gone.insert(name);
            }
            edited.extend(edit.map(|edit| (*path, (file, edit))));
        }
        for source in sources.iter().filter(|source| is_gone(&source.path.as_str())) {
            let mut alone = Reader::default();
            let (file, n_lines_above) = match edited.remove(source.path.as_str()) {
                None => (alone.file(source), 0),
                Some((mut rest, edit)) => {
                    let mut file = alone.file(&Source::new(source.path.as_str(), edit.after));
                    if !file.complaints.is_empty() {
                        return None;
                    }
                    file.names.append(&mut rest.names);
                    (file, edit.n_lines_above)
                }
            };
            let file = Some(file).filter(is_sound)?;
            for (name, (path, line)) in &alone.places {
                gone.remove(name);
                let place = (Arc::clone(path), line + n_lines_above);
                if self.reader.places.insert(name.clone(), place).is_some() {
                    return None;
                }
            }
            self.take(alone.world, alone.places.keys());
            self.files.insert(source.path.clone(), file);
        }
        gone.iter().for_each(|name| self.remove(name));
        Some(())
    }

    /// Takes the objects of the documents that an edit replaces out of a file,
    /// and gives their names; what stands behind them moves.
    fn cut(&mut self, file: &mut FileReading, edit: &Edit<'_>) -> Vec<ObjectName> {
        let replaced = Reader::default().file(&Source::new("", edit.before)).names;
        let known: BTreeSet<&ObjectName> = replaced.iter().collect();
        file.names.retain(|name| !known.contains(name));
        for name in &file.names {
            if let Some((_, line)) = self.reader.places.get_mut(name) {
                *line = edit.moved(*line);
            }
        }
        replaced
    }

    /// Puts the objects of a file in place of those of the same names; what did
    /// not change is not touched. An object without a place in the world, such as
    /// a pod that has ended, leaves the one that it had.
    fn take<'n>(&mut self, found: World, names: impl Iterator<Item = &'n ObjectName>) {
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
fn by_path(sources: &[Source]) -> Option<BTreeMap<&str, &Arc<Vec<u8>>>> {
    let files: BTreeMap<&str, &Arc<Vec<u8>>> =
        sources.iter().map(|source| (source.path.as_str(), &source.bytes)).collect();
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

        #[test]
        fn what_is_kept_of_an_edited_file_is_where_it_stands(
            steps in prop::collection::vec(
                prop::collection::btree_map(0..8_usize, 0..3_u32, 0..8),
                1..12,
            ),
        ) {
            let mut readings = WorldReadings::default();
            let mut before = Vec::new();
            for step in steps {
                // Each as long as its number says.
                let pod = |(number, address): (usize, u32)| {
                    let lines = "# More.\n".repeat(number);
                    let name = format!("metadata: {{name: p{number}}}");
                    format!("---\n{lines}kind: Pod\n{name}\nstatus: {{podIP: 10.0.{address}.1}}\n")
                };
                let pods: String = step.into_iter().map(pod).collect();
                let now = vec![Source::new("1.yaml", pods), source(2, &[4])];
                prop_assert_eq!(readings.read(&now, &before), read_world(&now));
                let mut anew = WorldReadings::default();
                anew.read(&now, &[]);
                prop_assert_eq!(&readings.reader.places, &anew.reader.places);
                let names = |of: &WorldReadings| -> BTreeSet<ObjectName> {
                    of.files.values().flat_map(|file| file.names.iter().cloned()).collect()
                };
                prop_assert_eq!(names(&readings), names(&anew));
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
        Source::new(format!("{file}.yaml"), text)
    }
}

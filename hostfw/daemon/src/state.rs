//! What survives a restart and a reboot: the audit mode that was asked, and the
//! last generations that were in force. Every file has a version and, where its
//! content reaches the kernel, a checksum; a file that does not match is as
//! good as none.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use hostfw_control::{Generation, StoredAudit};
use hostfw_datapath::{ABI_VERSION, Direction, checksum, image};
use hostfw_policy::{ExistingConnections, PolicyStatus, Rule, RuleKind, text};
use serde::{Deserialize, Serialize};

use crate::{clock, tally::Tally};

/// The directory of the state.
#[derive(Clone, Debug)]
pub(crate) struct State {
    root: PathBuf,
}

impl State {
    pub(crate) fn new(root: &str) -> Self {
        Self { root: root.into() }
    }

    /// The audit mode that was last asked at run time.
    pub(crate) fn audit(&self) -> Option<StoredAudit> {
        let bytes = fs::read(self.root.join(AUDIT)).ok()?;
        let file: AuditFile = serde_json::from_slice(&bytes).ok()?;
        let since_ms = clock::from_unix_s(file.since_unix_s);
        let AuditFile { version, on, configured, .. } = file;
        (version == VERSION).then_some(StoredAudit { on, configured, since_ms })
    }

    /// Keeps the audit mode that was asked, or forgets it.
    ///
    /// # Errors
    /// What the system said; the old file is unchanged.
    pub(crate) fn store_audit(&self, audit: Option<StoredAudit>) -> io::Result<()> {
        let path = self.root.join(AUDIT);
        let Some(StoredAudit { on, configured, since_ms }) = audit else {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        };
        let since_unix_s = clock::unix_s(since_ms);
        let file = AuditFile { version: VERSION, on, configured, since_unix_s };
        fs::create_dir_all(&self.root)?;
        write_whole(&path, &[&serde_json::to_vec(&file)?])
    }

    /// What rules counted in earlier generations.
    pub(crate) fn tally(&self) -> Tally {
        let file = fs::read(self.root.join(TALLY)).ok();
        let file: Option<TallyFile> = file.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        file.filter(|file| file.version == VERSION).map(|file| file.rules).unwrap_or_default()
    }

    /// Keeps what rules have counted.
    ///
    /// # Errors
    /// What the system said; the old file is unchanged.
    pub(crate) fn store_tally(&self, rules: &Tally) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        let file = TallyFile { version: VERSION, rules: rules.clone() };
        write_whole(&self.root.join(TALLY), &[&serde_json::to_vec(&file)?])
    }

    /// The newest generation whose file is sound, and since when it was in
    /// force.
    pub(crate) fn generation(&self) -> Option<(Generation, u64)> {
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        numbers.into_iter().rev().find_map(|number| {
            let bytes = fs::read(self.generation_path(number)).ok()?;
            let decoded = decode(&bytes);
            if let Err(why) = &decoded {
                tracing::warn!(
                    number,
                    why,
                    "a stored generation cannot be put in force, should the files be refused"
                );
            }
            decoded.ok()
        })
    }

    /// The highest number on disk, whether that generation is of any use or not:
    /// whoever goes on from it is the newest.
    pub(crate) fn last_number(&self) -> u32 {
        self.numbers().into_iter().max().unwrap_or(0)
    }

    /// Keeps a generation, and the few before it.
    ///
    /// # Errors
    /// What the system said; older files are unchanged.
    pub(crate) fn store_generation(
        &self,
        generation: &Generation,
        since_ms: u64,
    ) -> io::Result<()> {
        fs::create_dir_all(self.root.join(GENERATIONS))?;
        let (header, words) = encode(generation, clock::unix_s(since_ms))?;
        let sum = text::fingerprint(text::fingerprint(text::FINGERPRINT_SEED, &header), &words);
        let path = self.generation_path(generation.number);
        write_whole(&path, &[&header, b"\n", &words, &sum.to_le_bytes()])?;
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        let n_old = numbers.len().saturating_sub(KEPT);
        for number in numbers.into_iter().take(n_old) {
            fs::remove_file(self.generation_path(number))?;
        }
        Ok(())
    }

    fn numbers(&self) -> Vec<u32> {
        let entries = fs::read_dir(self.root.join(GENERATIONS)).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(ENDING)?.parse().ok())
            .collect()
    }

    fn generation_path(&self, number: u32) -> PathBuf {
        self.root.join(GENERATIONS).join(format!("{number}{ENDING}"))
    }
}

/// A header in JSON and the words of the image, little-endian.
fn encode(generation: &Generation, loaded_at_unix_s: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let header = Header {
        version: VERSION,
        number: generation.number,
        loaded_at_unix_s,
        addresses: generation.addresses.clone(),
        has_world: generation.has_world,
        ingress_in_force: generation.ingress_in_force,
        egress_in_force: generation.egress_in_force,
        rules: generation.rules.iter().map(StoredRule::from).collect(),
        policies: generation.policies.iter().map(StoredPolicy::from).collect(),
    };
    let words = generation.words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok((serde_json::to_vec(&header)?, words))
}

/// A generation of a file, or why there is none.
fn decode(bytes: &[u8]) -> Result<(Generation, u64), &'static str> {
    let (header, words) = split(bytes).ok_or("it is damaged")?;
    let Ok(header) = serde_json::from_slice::<Header>(header) else { return Err(OTHER_VERSION) };
    let (words, []) = words.as_chunks::<4>() else { return Err("it is damaged") };
    let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let at = |at: u32| usize::try_from(at).ok().and_then(|at| words.get(at)).copied();
    // Its image means something else to these programs, or nothing.
    if header.version != VERSION || at(image::AT_ABI) != Some(ABI_VERSION) {
        return Err(OTHER_VERSION);
    }
    let sound = at(image::AT_GENERATION) == Some(header.number)
        && at(image::AT_CHECKSUM) == Some(checksum::of(&words));
    let generation = Generation {
        number: header.number,
        words: Arc::new(words),
        rules: Arc::new(header.rules.into_iter().map(Rule::from).collect()),
        policies: header.policies.into_iter().map(PolicyStatus::from).collect(),
        ingress_in_force: header.ingress_in_force,
        egress_in_force: header.egress_in_force,
        addresses: header.addresses,
        has_world: header.has_world,
    };
    if sound { Ok((generation, header.loaded_at_unix_s)) } else { Err("it is damaged") }
}

/// The header and the words, if the checksum is theirs.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, sum) = bytes.split_last_chunk::<8>()?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (header, words) = (rest.get(..end)?, rest.get(end + 1..)?);
    let expected = text::fingerprint(text::fingerprint(text::FINGERPRINT_SEED, header), words);
    (u64::from_le_bytes(*sum) == expected).then_some((header, words))
}

/// Writes a file so that after a crash there is the old or the new one, whole.
fn write_whole(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)?.sync_all()
}

#[derive(Serialize, Deserialize)]
struct TallyFile {
    version: u32,
    rules: Tally,
}

#[derive(Serialize, Deserialize)]
struct AuditFile {
    version: u32,
    on: bool,
    configured: bool,
    since_unix_s: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    number: u32,
    loaded_at_unix_s: u64,
    addresses: Vec<IpAddr>,
    /// Files of before it was kept do not say.
    #[serde(default)]
    has_world: bool,
    ingress_in_force: bool,
    egress_in_force: bool,
    rules: Vec<StoredRule>,
    policies: Vec<StoredPolicy>,
}

#[derive(Serialize, Deserialize)]
struct StoredRule {
    id: u32,
    policy: String,
    path: String,
    line: u32,
    column: u32,
    egress: bool,
    kind: StoredKind,
    summary: String,
    hash: u64,
}

#[derive(Serialize, Deserialize)]
enum StoredKind {
    Allow,
    Deny,
    Pass,
    BuiltIn,
    LocalHost,
}

#[derive(Serialize, Deserialize)]
struct StoredPolicy {
    name: String,
    path: String,
    line: u32,
    selects_this_node: bool,
    #[serde(default)]
    n_pods: usize,
    /// The name of the choice; files of before it have none.
    #[serde(default)]
    existing: String,
}

impl From<&Rule> for StoredRule {
    fn from(rule: &Rule) -> Self {
        Self {
            id: rule.id,
            policy: rule.policy.as_ref().into(),
            path: rule.path.as_ref().into(),
            line: rule.line,
            column: rule.column,
            egress: rule.direction == Direction::Egress,
            kind: match rule.kind {
                RuleKind::Allow => StoredKind::Allow,
                RuleKind::Deny => StoredKind::Deny,
                RuleKind::Pass => StoredKind::Pass,
                RuleKind::BuiltIn => StoredKind::BuiltIn,
                RuleKind::LocalHost => StoredKind::LocalHost,
            },
            summary: rule.summary.as_ref().into(),
            hash: rule.hash,
        }
    }
}

impl From<StoredRule> for Rule {
    fn from(rule: StoredRule) -> Self {
        Self {
            id: rule.id,
            policy: rule.policy.into(),
            path: rule.path.into(),
            line: rule.line,
            column: rule.column,
            direction: if rule.egress { Direction::Egress } else { Direction::Ingress },
            kind: match rule.kind {
                StoredKind::Allow => RuleKind::Allow,
                StoredKind::Deny => RuleKind::Deny,
                StoredKind::Pass => RuleKind::Pass,
                StoredKind::BuiltIn => RuleKind::BuiltIn,
                StoredKind::LocalHost => RuleKind::LocalHost,
            },
            summary: rule.summary.into(),
            hash: rule.hash,
        }
    }
}

impl From<&PolicyStatus> for StoredPolicy {
    fn from(policy: &PolicyStatus) -> Self {
        Self {
            name: policy.name.clone(),
            path: policy.path.clone(),
            line: policy.line,
            selects_this_node: policy.selects_this_node,
            n_pods: policy.n_pods,
            existing: policy.existing.name().into(),
        }
    }
}

impl From<StoredPolicy> for PolicyStatus {
    fn from(policy: StoredPolicy) -> Self {
        let StoredPolicy { name, path, line, selects_this_node, n_pods, existing } = policy;
        let existing = ExistingConnections::named(&existing).unwrap_or_default();
        Self { name, path, line, selects_this_node, n_pods, existing }
    }
}

const VERSION: u32 = 1;
const OTHER_VERSION: &str = "it is of another version of hostfw";
const AUDIT: &str = "audit.json";
const TALLY: &str = "counters.json";
const GENERATIONS: &str = "generations";
const ENDING: &str = ".generation";
/// Generations on disk: the one in force and three to look back at.
const KEPT: usize = 4;

#[cfg(test)]
mod tests {
    use hostfw_daemon::kernel::Counts;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn audit_mode_is_kept_and_forgotten() {
        let scratch = Scratch::new();
        let state = State::new(&scratch.path("state"));
        assert_eq!(state.audit(), None);
        let asked = StoredAudit { on: true, configured: false, since_ms: clock::now_ms() };
        state.store_audit(Some(asked)).expect("stored");
        let read = state.audit().expect("kept");
        assert!(read.on && !read.configured);
        state.store_audit(None).expect("removed");
        state.store_audit(None).expect("twice is fine");
        assert_eq!(state.audit(), None);
    }

    #[test]
    fn counts_of_rules_are_kept_and_a_damaged_file_counts_for_nothing() {
        let scratch = Scratch::new();
        let state = State::new(&scratch.path("state"));
        assert_eq!(state.tally(), Tally::default());
        let mut tally = Tally::default();
        let counts = Counts { packets: 5, bytes: u64::MAX, idle_s: Some(3) };
        tally.add(&generation(1).rules, &[counts], 1_000);
        state.store_tally(&tally).expect("stored");
        assert_eq!(state.tally(), tally);
        assert_ne!(state.tally(), Tally::default());
        let path = state.root.join(TALLY);
        let whole = fs::read(&path).expect("there");
        fs::write(&path, &whole[..whole.len() - 1]).expect("written");
        assert_eq!(state.tally(), Tally::default());
    }

    #[test]
    fn a_generation_comes_back_as_it_was() {
        let scratch = Scratch::new();
        let state = State::new(&scratch.text());
        state.store_generation(&generation(7), clock::now_ms()).expect("stored");
        assert_eq!(state.generation().expect("kept").0, generation(7));
    }

    #[test]
    fn a_damaged_file_is_passed_over_for_the_one_before() {
        let scratch = Scratch::new();
        let state = State::new(&scratch.text());
        for number in [1, 2] {
            state.store_generation(&generation(number), 0).expect("stored");
        }
        let newest = state.generation_path(2);
        let whole = fs::read(&newest).expect("there");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&newest, &damaged).expect("written");
            assert_eq!(state.generation().expect("the one before").0.number, 1, "byte {at}");
            fs::write(&newest, &whole[..at]).expect("written");
            assert_eq!(state.generation().expect("the one before").0.number, 1, "cut at {at}");
        }
    }

    #[test]
    fn a_generation_of_another_layout_is_none_and_its_number_is_not_given_again() {
        let scratch = Scratch::new();
        let state = State::new(&scratch.text());
        for number in 1..=4 {
            state.store_generation(&of_layout(ABI_VERSION - 1, number), 0).expect("stored");
        }
        assert_eq!(state.generation(), None);
        let number = state.last_number() + 1;
        state.store_generation(&generation(number), 0).expect("stored");
        assert_eq!(state.generation().expect("kept").0.number, number);
    }

    #[test]
    fn old_generations_do_not_pile_up() {
        let scratch = Scratch::new();
        let state = State::new(&scratch.text());
        for number in 1..10 {
            state.store_generation(&generation(number), 0).expect("stored");
        }
        assert_eq!(state.numbers().len(), KEPT);
        assert_eq!(state.generation().expect("kept").0.number, 9);
    }

    fn generation(number: u32) -> Generation {
        of_layout(ABI_VERSION, number)
    }

    fn of_layout(version: u32, number: u32) -> Generation {
        let mut words = vec![0; 40];
        words[image::AT_ABI as usize] = version;
        words[image::AT_GENERATION as usize] = number;
        words[image::AT_CHECKSUM as usize] = checksum::of(&words);
        let rule = Rule {
            id: 0,
            policy: "ssh".into(),
            path: "ssh.yaml".into(),
            line: 7,
            column: 5,
            direction: Direction::Egress,
            kind: RuleKind::Deny,
            summary: "deny 22/TCP".into(),
            hash: u64::MAX,
        };
        Generation {
            number,
            words: Arc::new(words),
            rules: Arc::new(vec![rule]),
            policies: vec![PolicyStatus {
                name: "ssh".into(),
                path: "ssh.yaml".into(),
                line: 1,
                selects_this_node: true,
                n_pods: 0,
                existing: ExistingConnections::Kill,
            }],
            ingress_in_force: true,
            egress_in_force: false,
            addresses: vec!["192.0.2.1".parse().expect("literal")],
            has_world: true,
        }
    }
}

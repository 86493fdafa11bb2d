//! Other ways onto a host than a package manager by hand: the Ansible role, over
//! ssh and through the firewall that it changes, and the container of the
//! manifest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hostfw_lab::Guest;
use hostfw_scenario::{
    Host, Lab, Process, lab,
    scene::{SECOND, node_port, open_port, pair, policy},
    wait_until,
};

use crate::scene::{closed, open, servers};

const TREE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn package() -> PathBuf {
    let folder =
        std::env::var("HOSTFW_LAB_PACKAGES").expect("`cargo xtask lab` names the packages");
    let mut packages: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of the packages")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "deb"))
        .collect();
    packages.sort();
    packages.swap_remove(0)
}

fn ingress(rules: &[(u16, &str)]) -> String {
    let rules: String = rules.iter().map(|(port, protocol)| open_port(*port, protocol)).collect();
    policy("test", &format!("ingress:\n{rules}"))
}

/// Where Ansible runs: the peer, with a key that the guest accepts.
struct Controller<'host> {
    peer: &'host Host,
    folder: PathBuf,
}

impl<'host> Controller<'host> {
    fn new(peer: &'host Host, guest: &Guest<'_>) -> Self {
        let folder = peer.folder().join("controller");
        for part in ["policies.d", "cluster.d"] {
            fs::create_dir_all(folder.join(part)).expect("a folder of the lab");
        }
        let key = folder.join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.expect("ssh-keygen runs").success());
        let public = fs::read_to_string(key.with_extension("pub")).expect("a key");
        guest.does("mkdir -p -m 700 ~root/.ssh && systemctl start ssh");
        guest.does(&format!("echo '{}' >~root/.ssh/authorized_keys", public.trim()));
        let address = node_port(22).ip();
        let inventory = format!(
            "node ansible_host={address} ansible_user=root ansible_python_interpreter=/usr/bin/python3 \
             ansible_ssh_private_key_file={}\n",
            key.display()
        );
        fs::write(folder.join("inventory"), inventory).expect("a file of the lab");
        Self { peer, folder }
    }

    fn policy(&self, text: &str) {
        fs::write(self.folder.join("policies.d/test.yaml"), text).expect("a file of the lab");
    }

    /// Plays the play of the project, and gives how it ended and what it said.
    fn play(&self) -> (bool, String) {
        let playbook = self.folder.join("playbook.yml");
        let role = Path::new(TREE).join("packaging/ansible");
        fs::copy(role.join("playbook.yml"), &playbook).expect("a file of the lab");
        let mut command = self.peer.command("ansible-playbook");
        command.args(["--inventory", "inventory", "playbook.yml"]).current_dir(&self.folder);
        let variables = format!(
            "{{hostfw_package: {}, hostfw_config: {{audit: false}}, hostfw_undo_after: 8}}",
            package().display()
        );
        command.args(["--extra-vars", &variables]);
        for (name, value) in [
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("ANSIBLE_ROLES_PATH", role.join("roles").display().to_string()),
            ("ANSIBLE_HOME", self.folder.join("home").display().to_string()),
            ("ANSIBLE_SSH_CONTROL_PATH_DIR", self.folder.join("cp").display().to_string()),
            ("ANSIBLE_HOST_KEY_CHECKING", "False".to_owned()),
            ("ANSIBLE_TIMEOUT", "4".to_owned()),
            ("ANSIBLE_NOCOLOR", "1".to_owned()),
        ] {
            command.env(name, value);
        }
        let Output { status, stdout, stderr } = command.output().expect("ansible-playbook runs");
        let text = [stdout, stderr].concat();
        (status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}

#[test]
fn a_play_installs_changes_and_takes_back_what_locks_it_out() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = Guest::new(&node);
    guest.boot();
    let controller = Controller::new(&peer, &guest);

    controller.policy(&ingress(&[(22, "TCP"), (7, "TCP")]));
    let (ok, said) = controller.play();
    assert!(ok, "{said}");
    assert!(open(&peer, 7) && closed(&peer, 8));

    // The same again changes nothing.
    let (ok, said) = controller.play();
    assert!(ok && said.contains("changed=0"), "{said}");

    // What is refused never comes near the node's own files.
    controller.policy("kind: [");
    let (ok, said) = controller.play();
    assert!(!ok && said.contains("test.yaml:1:7: error[yaml-syntax]"), "{said}");
    assert!(guest.does("hostfw status").contains("as it should be"));

    // Without a rule for SSH no new connection comes in: the node goes back.
    controller.policy(&ingress(&[(8, "TCP")]));
    let (ok, said) = controller.play();
    assert!(!ok && said.contains("The change is taken back"), "{said}");
    assert!(open(&peer, 7) && closed(&peer, 8));
    println!("{said}");

    controller.policy(&ingress(&[(22, "TCP"), (8, "TCP")]));
    let (ok, said) = controller.play();
    assert!(ok, "{said}");
    assert!(closed(&peer, 7) && open(&peer, 8));
    let timers = guest.does("systemctl list-timers --all --no-pager");
    assert!(!timers.contains("hostfw-undo"), "{timers}");
    guest.power_off();
}

/// The text of a file inside the ConfigMap of the manifest.
fn configuration() -> String {
    let manifest = include_str!("../../../../packaging/kubernetes/hostfw.yaml");
    let (_, rest) = manifest.split_once("  hostfw.yaml: |\n").expect("a configuration");
    let lines = rest.lines().take_while(|line| line.starts_with("    "));
    lines.map(|line| format!("{}\n", &line[4..])).collect()
}

#[test]
fn the_daemon_runs_in_a_container_with_nothing_but_its_programs() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let at = |name: &str| node.folder().join(name);
    let (image, unpacked) = (at("image"), at("unpacked"));
    let unpack = Command::new("dpkg-deb").arg("--extract").arg(package()).arg(&unpacked).status();
    assert!(unpack.expect("dpkg-deb runs").success());
    for folder in ["usr/bin", "etc/hostfw", "etc/hostfw-policies", "etc/hostfw-cluster"]
        .iter()
        .chain(&["bpf", "sys", "var/lib/hostfw", "run/hostfw", "proc", "dev"])
    {
        fs::create_dir_all(image.join(folder)).expect("a folder of the lab");
    }
    for program in ["usr/sbin/hostfwd", "usr/bin/hostfw"] {
        let name = Path::new(program).file_name().expect("a name");
        fs::copy(unpacked.join(program), image.join("usr/bin").join(name)).expect("a program");
    }
    for folder in ["config", "policies", "cluster", "state", "run"] {
        fs::create_dir_all(at(folder)).expect("a folder of the lab");
    }
    fs::write(at("config/hostfw.yaml"), configuration()).expect("a file of the lab");
    fs::write(at("policies/test.yaml"), ingress(&[(7, "TCP")])).expect("a file of the lab");

    let contained = |words: &[&str]| {
        let mut command = node.command("bwrap");
        command.arg("--ro-bind").arg(&image).arg("/").args(["--ro-bind", "/sys", "/sys"]);
        for (from, to) in [
            ("config", "etc/hostfw"),
            ("policies", "etc/hostfw-policies"),
            ("cluster", "etc/hostfw-cluster"),
        ] {
            command.arg("--ro-bind").arg(at(from)).arg(format!("/{to}"));
        }
        for (from, to) in [("bpf", "bpf"), ("state", "var/lib/hostfw"), ("run", "run/hostfw")] {
            command.arg("--bind").arg(at(from)).arg(format!("/{to}"));
        }
        command.args([
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--die-with-parent",
            "--cap-drop",
            "ALL",
        ]);
        for capability in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
            command.args(["--cap-add", capability]);
        }
        command.args(words);
        command
    };
    let mut command = contained(&["/usr/bin/hostfwd", "--config", "/etc/hostfw/hostfw.yaml"]);
    let mut daemon = Process::start("container", node.folder(), &mut command);
    let ask = |words: &[&str]| {
        let words: Vec<&str> = ["/usr/bin/hostfw"].iter().chain(words).copied().collect();
        let output = contained(&words).output().expect("bwrap runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    wait_until("the daemon is ready", 10 * SECOND, || ask(&["status"]).0);
    // As the manifest has it at first: told, not dropped.
    assert!(open(&peer, 7) && open(&peer, 8));
    let (ok, said) = ask(&["audit", "off"]);
    assert!(ok, "{said}");
    assert!(open(&peer, 7) && closed(&peer, 8));
    daemon.stop();
    assert!(open(&peer, 7) && closed(&peer, 8), "a pod that ends opens nothing");
}

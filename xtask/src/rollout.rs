//! What others carry out: scripts, the Vagrantfile, the Ansible role, the
//! manifest. Each is judged by the program that will read it, as far as that
//! needs no machine; the tests of the lab run what can be run.

use std::process::Command;

use crate::run;

/// Every judgement, with what it is about.
pub(crate) fn judgements() -> [(&'static str, Command); 3] {
    let mut scripts = Command::new("shellcheck");
    scripts.arg("--shell=sh").args(SCRIPTS).current_dir(run::root());

    // What it keeps is not for the repository, and it asks nobody for news.
    let mut vagrant = Command::new("vagrant");
    vagrant.args(["validate", "--ignore-provider"]).current_dir(run::root().join("vagrant"));
    vagrant.env("VAGRANT_DOTFILE_PATH", run::root().join("target/vagrant"));
    vagrant.env("VAGRANT_CHECKPOINT_DISABLE", "1");

    let mut ansible = Command::new("ansible-playbook");
    ansible.current_dir(run::root());
    ansible.args(["--syntax-check", "--inventory=localhost,", "packaging/ansible/playbook.yml"]);
    ansible.env("LC_ALL", "C.UTF-8").env("ANSIBLE_HOME", run::root().join("target/ansible"));

    [("scripts", scripts), ("Vagrantfile", vagrant), ("Ansible role", ansible)]
}

const SCRIPTS: [&str; 11] = [
    "packaging/ansible/roles/hostfw/files/put",
    "packaging/deb/postinst",
    "packaging/deb/postrm",
    "packaging/deb/prerm",
    "tests/lab/src/boot.sh",
    "tests/lab/src/disk.sh",
    "tests/lab/src/shell.sh",
    "vagrant/install.sh",
    "vagrant/kubeadm.sh",
    "vagrant/provision.sh",
    "xtask/src/vm/init.sh",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_judged() {
        let mut listed = Command::new("git");
        listed.args(["grep", "-lE", "^#!/.*sh$|^set -e", "--", ":!*.md"]);
        let output = listed.current_dir(run::root()).output().expect("git runs");
        let scripts = String::from_utf8(output.stdout).expect("names are text");
        let known = |name: &&str| SCRIPTS.contains(name) || *name == ".ci/run";
        let missing: Vec<&str> = scripts.lines().filter(|name| !known(name)).collect();
        assert_eq!(missing, Vec::<&str>::new());
        assert!(scripts.lines().count() > 5, "{scripts}");
    }

    #[test]
    fn a_pod_may_what_the_unit_may() {
        let read = |path: &str| std::fs::read_to_string(run::root().join(path)).expect(path);
        let unit = read("systemd/hostfw.service");
        let unit = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        let manifest = read("packaging/kubernetes/hostfw.yaml");
        let pod = manifest.lines().find_map(|line| line.trim().strip_prefix("add: ["));
        let pod = pod.expect("the manifest adds capabilities").trim_end_matches(']');
        let pod: Vec<String> = pod.split(", ").map(|name| format!("CAP_{name}")).collect();
        assert_eq!(unit.map(str::to_owned), Some(pod.join(" ")));
    }
}

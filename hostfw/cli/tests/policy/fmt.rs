//! `hostfw policy fmt` on files: what is rewritten, what is left alone, and what
//! the exit code says.

use std::{
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::Stdio,
};

use super::*;

const LOOSE: &str =
    "# Who may come in\nkind: K\napiVersion: v1\nspec:\n    a:\n      - 'b'   # c\n";
const CANONICAL: &str = "# Who may come in\napiVersion: v1\nkind: K\nspec:\n  a:\n  - \"b\" # c\n";

impl Folder {
    fn fmt(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hostfw"))
            .current_dir(&self.0)
            .args(["policy", "fmt"])
            .args(arguments)
            .env_remove("COLUMNS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run hostfw");
        // A command that does not read has closed its end.
        drop(child.stdin.take().expect("it is piped").write_all(input.as_bytes()));
        child.wait_with_output().expect("hostfw ends")
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).expect("a file of the test")
    }
}

#[track_caller]
fn says(output: &Output, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout);
    assert_eq!(output.status.code(), Some(code));
}

#[test]
fn the_documents_of_a_directory_are_rewritten() {
    let folder = Folder::with(
        "directory",
        &[
            ("d/a.yaml", LOOSE),
            ("d/b.yml", CANONICAL),
            ("d/c.test.yaml", LOOSE),
            ("d/d.json", "{ \"a\":1 }"),
            ("d/.e.yaml", LOOSE),
            ("d/README", LOOSE),
            ("d/f/g.yaml", LOOSE),
        ],
    );
    says(&folder.fmt(&["--check", "d"], ""), 1, "d/a.yaml\nd/c.test.yaml\n", "");
    assert_eq!(folder.text("d/a.yaml"), LOOSE);
    says(&folder.fmt(&["d"], ""), 0, "d/a.yaml\nd/c.test.yaml\n", "");
    for file in ["d/a.yaml", "d/b.yml", "d/c.test.yaml"] {
        assert_eq!(folder.text(file), CANONICAL);
    }
    for file in ["d/.e.yaml", "d/README", "d/f/g.yaml"] {
        assert_eq!(folder.text(file), LOOSE);
    }
    assert_eq!(folder.text("d/d.json"), "{ \"a\":1 }");
    assert_eq!(fs::read_dir(folder.0.join("d")).expect("the folder").count(), 7);
    says(&folder.fmt(&["--check", "d"], ""), 0, "", "");
}

#[test]
fn the_mode_stays_a_link_stays_and_what_is_canonical_is_not_touched() {
    let folder = Folder::with("mode", &[("a.yaml", LOOSE), ("b.yaml", CANONICAL)]);
    let path = |file: &str| folder.0.join(file);
    fs::set_permissions(path("a.yaml"), fs::Permissions::from_mode(0o640)).expect("set the mode");
    symlink("a.yaml", path("link.yaml")).expect("make a link");
    let inode = |file: &str| fs::metadata(path(file)).expect("a file of the test").ino();
    let before = inode("b.yaml");
    says(&folder.fmt(&["link.yaml", "b.yaml"], ""), 0, "link.yaml\n", "");
    assert_eq!(folder.text("a.yaml"), CANONICAL);
    let mode = fs::metadata(path("a.yaml")).expect("a file of the test").mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert!(fs::symlink_metadata(path("link.yaml")).expect("the link").is_symlink());
    assert_eq!(inode("b.yaml"), before);
}

#[test]
fn a_refused_file_is_left_alone_and_others_go_on() {
    let folder =
        Folder::with("refused", &[("a.yaml", "a: [b\n"), ("b.yaml", LOOSE), ("c.json", "{}")]);
    let output = folder.fmt(&["a.yaml", "c.json", "b.yaml"], "");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for line in [
        "b.yaml\n\na.yaml:1:4: error[yaml-syntax]: not readable as YAML",
        "  = instead: correct the YAML",
        "c.json: error[not-formatted]: JSON has no canonical form here\n",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    assert_eq!(folder.text("a.yaml"), "a: [b\n");
    assert_eq!(folder.text("b.yaml"), CANONICAL);

    let output = folder.fmt(&["b.yaml", "missing.yaml"], "");
    says(&output, 2, "", "hostfw: open missing.yaml: No such file or directory (os error 2)\n");
}

#[test]
fn standard_input_goes_to_standard_output() {
    let folder = Folder::with("input", &[("a.yaml", LOOSE)]);
    says(&folder.fmt(&["-"], LOOSE), 0, CANONICAL, "");
    says(&folder.fmt(&["-", "--check"], LOOSE), 1, "<stdin>\n", "");
    says(&folder.fmt(&["-", "--check"], CANONICAL), 0, "", "");
    let output = folder.fmt(&["-"], "%YAML 1.2\n---\na: 1\n");
    let message = "hostfw: <stdin>:1:1: not put into the canonical form: YAML directives are \
                   disallowed; instead: the file without it\n";
    says(&output, 1, "", message);
    says(&folder.fmt(&["-", "a.yaml"], LOOSE), 64, "", "hostfw: `-` stands alone\n");
    let output = folder.fmt(&["a.yaml", "-o", "json"], "");
    says(&output, 64, "", "hostfw: `policy fmt` prints text only\n");
    assert_eq!(folder.fmt(&[], "").status.code(), Some(64));
}

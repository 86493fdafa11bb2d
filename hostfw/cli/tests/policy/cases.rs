//! Test cases beside the policies: run by themselves and with every check.

use super::*;

#[test]
fn cases_beside_the_policies_are_no_policies_and_decide_the_exit_code() {
    let folder = Folder::good("cases");
    let cases = |expect: &str| {
        let text = format!(
            "tests:\n- {{name: open, from: 192.0.2.7, to: cp-1, port: tcp/22, expect: {expect}}}\n"
        );
        fs::write(folder.0.join("policies.d/ssh.test.yaml"), text).expect("a temporary file");
    };
    let test = |form: &str| {
        folder.hostfw(&["policy", "test", "policies.d", "--world", "cluster.d", "-o", form])
    };
    cases("allow");
    let output = test("text");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Passed: 1 of 1 case.\n");
    let checked = folder.hostfw(&["policy", "check", "policies.d", "--world", "cluster.d"]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    cases("deny");
    let output = test("junit");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("failures=\"1\"") && text.contains("expected deny, got allow"), "{text}");
    cases("perhaps");
    let output = test("text");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("allow, deny or redirect"), "{}", stderr(&output));
}

/// Checks a good directory with the given cases beside its policies.
fn checked_with_cases(name: &str, cases: &str, more: &[&str]) -> Output {
    let folder = Folder::good(&format!("cases-{name}"));
    fs::write(folder.0.join("policies.d/ssh.test.yaml"), format!("tests:\n{cases}"))
        .expect("a temporary file");
    folder.hostfw(&[&["policy", "check", "policies.d"], more].concat())
}

#[test]
fn a_set_whose_cases_fail_or_cannot_be_read_is_refused_as_by_the_daemon() {
    let world = ["--world", "cluster.d"];
    let good = "- {from: 192.0.2.7, to: cp-1, port: tcp/22, expect: allow}\n";
    let output = checked_with_cases("good", good, &world);
    shows(&output, 0, &["Accepted: 2 policies.\nCases: 1 passed.\n"]);

    let bad = "- {name: shut, from: 192.0.2.7, to: cp-1, port: tcp/22, expect: deny}\n";
    let output = checked_with_cases("bad", &format!("{good}{bad}"), &world);
    let lines = [
        "policies.d/ssh.test.yaml:3:3: error[test-failed]: the test `shut` fails:\n",
        "expected deny, got allow: ingress of the node cp-1 is allowed by `ssh`\n",
        "Refused: 1 error, 2 policies.\nCases: 1 passed, 1 failed.\n",
    ];
    shows(&output, 1, &lines);
    let output = checked_with_cases("bad-json", bad, &["--world", "cluster.d", "-o", "json"]);
    let report = json(&output);
    assert_eq!((&report["accepted"], &report["cases"]["failed"]), (&false.into(), &1.into()));

    for (number, (case, complaint)) in [
        ("{from: cp-9, to: cp-1, port: tcp/22, expect: deny}", "[test-unknown]: `cp-9` is no"),
        ("{from: shop/a, to: cp-1, port: tcp/22, expect: deny}", "[test-unknown]: `shop/a` is no"),
        ("{from: 'a=b,c', to: cp-1, port: tcp/22, expect: deny}", "[test-unknown]: `c` in `a=b,c`"),
        ("{from: world, to: cp-1, port: tcp/ssh, expect: deny}", "[bad-port]: "),
        ("{from: world, to: cp-1, port: tcp/22, expect: maybe}", "[bad-expectation]: "),
        ("{from: world, to: cp-1, port: tcp/22}", "[missing-field]: "),
        ("{from: world, to: remote-node, port: tcp/22, expect: deny}", "no answer: neither"),
        ("{from: 192.0.2.7, to: cp-1, port: icmpv6/8, expect: deny}", "two ends of the protocol"),
        ("{form: world, to: cp-1, port: tcp/22, expect: deny}", "= instead: from:"),
    ]
    .into_iter()
    .enumerate()
    {
        let output = checked_with_cases(&format!("wrong-{number}"), &format!("- {case}\n"), &world);
        shows(&output, 1, &[complaint, "Refused: "]);
    }
    // In quotes or without, a bare number would be a test of something else.
    for (number, port) in ["22", "\"22\""].into_iter().enumerate() {
        let bare = format!("- {{from: 192.0.2.7, to: cp-1, port: {port}, expect: deny}}\n");
        let output = checked_with_cases(&format!("bare-{number}"), &bare, &world);
        shows(&output, 1, &["error[bad-port]: `22` lacks", "= instead: port: tcp/22, or prot"]);
    }
}

#[test]
fn a_case_that_cannot_be_asked_without_a_node_is_not_run() {
    let cases = "- {name: own, from: 192.0.2.7, to: host, port: tcp/22, expect: allow}\n\
                 - {name: etcd, from: worker-1, to: host, port: tcp/2379, expect: allow}\n\
                 - {name: other, from: 192.0.2.7, to: 198.51.100.9, port: tcp/22, expect: allow}\n";
    let check = |name: &str, more: &[&str]| checked_with_cases(name, cases, more);
    let output = check("anywhere", &["--world", "cluster.d"]);
    let lines = [
        "Accepted: 2 policies.\nCases: 3 not run.\n",
        "  not run: own (policies.d/ssh.test.yaml:2): `host` is the node itself, and no\n",
        "192.0.2.7 may be an address of\n    the node",
        "  --node NAME says which node `host` is, ",
    ];
    shows(&output, 0, &lines);
    // One node is meant, and it is another one for which `etcd` is open.
    let node = ["--world", "cluster.d", "--node", "cp-1", "--address", "198.51.100.9"];
    shows(&check("cp-1", &node), 0, &["Accepted: 2 policies.\nCases: 3 passed.\n"]);
    let output = check("worker-1", &["--world", "cluster.d", "--node", "worker-1"]);
    shows(&output, 1, &["Refused: 2 errors, 2 policies.\nCases: 1 passed, 2 failed.\n"]);
    // Without a world nobody is known, and nothing is a typing error.
    let output = check("nowhere", &["-o", "json"]);
    let report = json(&output);
    let not_run = &report["cases"]["not_run"];
    assert_eq!(not_run.as_array().map(Vec::len), Some(3), "{report}");
    assert_eq!((&not_run[1]["name"], &not_run[1]["line"]), (&"etcd".into(), &3.into()));
    assert_eq!((&report["accepted"], &report["cases"]["passed"]), (&true.into(), &0.into()));
    let unknown = "- {from: shop/a, to: cp-1, port: tcp/22, expect: deny}\n";
    shows(&checked_with_cases("unknown", unknown, &[]), 0, &["Cases: 1 not run.\n"]);
    // For a named node it is as in its daemon, which has no world either.
    let output = checked_with_cases("alone", unknown, &["--node", "cp-1"]);
    shows(&output, 1, &["error[test-unknown]: `shop/a` is no"]);
}

#[test]
fn a_case_about_this_node_is_not_run_where_no_node_is_named() {
    let folder = Folder::good("cases-host");
    let cases = |more: &str| {
        let host = "- {name: etcd, from: world, to: host, port: tcp/2379, expect: allow}\n";
        fs::write(folder.0.join("policies.d/a.test.yaml"), format!("tests:\n{host}{more}"))
            .expect("a temporary file");
    };
    let test = |more: &[&str]| {
        let arguments = ["policy", "test", "policies.d", "--world", "cluster.d"];
        folder.hostfw(&[&arguments[..], more].concat())
    };
    cases("");
    for form in ["text", "json", "junit"] {
        let output = test(&["-o", form]);
        shows(&output, 2, &[]);
        let message = stderr(&output);
        assert!(
            message.contains("no case was run") && message.contains("--node NAME"),
            "{message}"
        );
    }
    shows(&test(&["--node", "cp-1"]), 1, &["FAIL etcd"]);
    // Labels alone say enough of a node.
    shows(&test(&["--label", "node-role.kubernetes.io/control-plane="]), 1, &["FAIL etcd"]);

    cases("- {from: 192.0.2.7, to: cp-1, port: tcp/22, expect: allow}\n");
    let lines = [
        "Passed: 1 of 1 case; 1 not run.\n  not run: etcd (policies.d/a.test.yaml:2): `host` is",
        "  --node NAME says which node `host` is, --world DIR who else there is.\n",
    ];
    shows(&test(&[]), 0, &lines);
    let report = json(&test(&["-o", "json"]));
    assert_eq!(report["not_run"][0]["name"], "etcd", "{report}");
    let output = test(&["-o", "junit"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("<skipped message=\"`host` is"));
}

//! `tests/kind/run` with a docker, a kind and a kubectl that take notes: what it calls, in which
//! order, and what it leaves behind however it ends.

use crate::repository;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// What any machine with bash has.
const TOOLS: [&str; 12] = [
    "bash", "cat", "dirname", "env", "grep", "head", "ls", "mkdir", "rm", "sed", "sleep", "tail",
];

/// One for all three, by the name it is called by. `$FAIL` is the beginning of the call that fails.
const DOUBLE: &str = r#"#!/usr/bin/env bash
call="${0##*/} $*"
call=${call//--kubeconfig $KIND_OUT\/kubeconfig /}
printf '%s\n' "$call" >>"$NOTES/calls"
if [[ -n $FAIL && $call == "$FAIL"* ]]; then echo "as you wish" >&2; exit 1; fi
case $call in
'kind get clusters') printf '%s' "$CLUSTERS" ;;
'kubectl kustomize '*/mariadb-11) printf 'kind: StatefulSet\n        image: mariadb:11\n' ;;
'kubectl kustomize '*/base) printf 'kind: StatefulSet\n        image: mysql:8.4\n' ;;
'kubectl kustomize '*) printf 'kind: Job # %s\n      - args:\n        - cluster\n        - --namespace\n' "${*: -1}" ;;
'kubectl apply -f -') cat >>"$NOTES/applied" ;;
'kubectl get pods -n '*) echo pod/the-suite ;;
'kubectl get pods -l app=mysql -o name') echo pod/mysql-0 ;;
'kubectl get pod/the-suite '*phase*)
    # Pending, running, and then what the log says.
    asked=$(cat "$NOTES/asked" 2>/dev/null)
    printf x >>"$NOTES/asked"
    case ${#asked} in 0) echo Pending ;; 1) echo Running ;; *) echo "$ENDS"; rm "$NOTES/asked" ;; esac ;;
'kubectl logs pod/the-suite '*)
    printf 'a_case\n    a measurement\n\ncase    result  time\na_case  ok      1 ms\n\n1 passed, 0 failed\n' ;;
'kubectl logs '*) echo "a log" ;;
esac
exit 0
"#;

struct Stage {
    root: TempDir,
    set: Vec<(&'static str, String)>,
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for tool in TOOLS {
            let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
            let found = found.into_iter().find(|file| file.exists()).unwrap();
            symlink(found, bin.join(tool)).unwrap();
        }
        fs::write(root.path().join("double"), DOUBLE).unwrap();
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path().join("double"), executable).unwrap();
        for tool in ["docker", "kind", "kubectl"] {
            symlink(root.path().join("double"), bin.join(tool)).unwrap();
        }
        let set = vec![("ENDS", "Succeeded".to_owned())];
        Self { root, set }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.set.retain(|(known, _)| *known != name);
        self.set.push((name, value.to_owned()));
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let root = self.root.path();
        Command::new(repository("tests/kind/run"))
            .args(arguments)
            .env_clear()
            .env("PATH", root.join("bin"))
            .env("NOTES", root)
            .env("KIND_OUT", root.join("out"))
            .env("KIND_PAUSE", "0.01")
            .envs(self.set.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap()
    }

    fn note(&self, name: &str) -> String {
        fs::read_to_string(self.root.path().join(name)).unwrap_or_default()
    }

    /// Where the first call that begins so stands.
    fn call(&self, begins: &str) -> Option<usize> {
        let calls = self.note("calls");
        let mut calls = calls.lines();
        calls.position(|call| call.starts_with(begins))
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn a_run_builds_applies_waits_tests_reports_and_removes_in_this_order() {
    let stage = Stage::new();
    let output = stage.run(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let order = [
        "docker info",
        "docker build --file tests/kind/Dockerfile",
        "kind create cluster --name headless-mysql ",
        "kind load docker-image headless-mysql-kind:local",
        "kubectl kustomize tests/kind/manifests/base",
        "kubectl rollout status statefulset/mysql",
        "kubectl kustomize tests/kind/manifests/elsewhere",
        "kubectl kustomize tests/kind/manifests/suite",
        "kind delete cluster --name headless-mysql ",
    ];
    let places: Vec<_> = order.iter().map(|call| stage.call(call)).collect();
    assert!(places.iter().all(Option::is_some), "{places:?}");
    assert!(places.is_sorted(), "{}", stage.note("calls"));
    let said = text(&output.stdout);
    assert!(
        said.contains("a measurement"),
        "progress is streamed: {said}"
    );
    assert!(said.trim_end().ends_with("1 passed, 0 failed"), "{said}");
    // All with the run's own kubeconfig.
    assert!(
        !stage
            .note("calls")
            .contains("kubectl get pods --kubeconfig")
    );
    assert!(stage.note("applied").contains("image: mysql:8.4"));
}

#[test]
fn a_suite_that_fails_fails_the_run_and_leaves_logs_but_no_cluster() {
    let stage = Stage::new().with("ENDS", "Failed");
    let output = stage.run(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    for log in ["pods", "events", "coredns", "mysql-0", "mysql-0.previous"] {
        let log = stage.root.path().join("out/logs").join(log);
        assert!(log.exists(), "{}", log.display());
    }
    assert!(stage.call("kind delete cluster").is_some());
    assert!(text(&output.stdout).contains("1 passed, 0 failed"));
}

#[test]
fn whatever_breaks_on_the_way_the_cluster_goes() {
    for step in [
        "kind create",
        "kind load",
        "kubectl apply",
        "kubectl rollout",
        "kubectl kustomize",
    ] {
        let stage = Stage::new().with("FAIL", step);
        let output = stage.run(&[]);
        assert!(!output.status.success(), "{step}");
        assert!(stage.call("kind delete cluster").is_some(), "{step}");
        assert!(stage.root.path().join("out/logs/events").exists(), "{step}");
    }
    // Nothing was made yet.
    let stage = Stage::new().with("FAIL", "docker build --file");
    assert!(!stage.run(&[]).status.success());
    assert!(stage.call("kind").is_none());
}

#[test]
fn a_cluster_that_is_kept_is_used_again() {
    let stage = Stage::new();
    let output = stage.run(&["--keep"]);
    assert!(output.status.success());
    assert!(stage.call("kind delete").is_none());
    assert!(text(&output.stderr).contains("kind delete cluster --name headless-mysql"));

    let stage = Stage::new().with("CLUSTERS", "another\nheadless-mysql\n");
    assert!(stage.run(&["--keep"]).status.success());
    assert!(stage.call("kind create").is_none());
    assert!(stage.call("kind export kubeconfig").is_some());
}

#[test]
fn an_image_chooses_its_variant_and_is_what_is_applied() {
    for (image, variant) in [
        ("mysql:9", "base"),
        ("registry.example.org:5000/library/mysql:8.4.6", "base"),
        ("mariadb:11", "mariadb-11"),
        ("docker.io/library/mariadb:11.8@sha256:0123", "mariadb-11"),
    ] {
        let stage = Stage::new();
        let output = stage.run(&["--image", image]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let rendered = format!("kubectl kustomize tests/kind/manifests/{variant}");
        assert!(stage.call(&rendered).is_some(), "{image}");
        let applied = stage.note("applied");
        let line = format!("        image: {image}\n");
        assert!(applied.contains(&line), "{applied}");
    }
}

#[test]
fn one_case_runs_where_it_belongs() {
    let stage = Stage::new();
    let output = stage.run(&["--only", "rolling_restart"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        stage
            .call("kubectl kustomize tests/kind/manifests/elsewhere")
            .is_none()
    );
    let applied = stage.note("applied");
    let arguments = "        - --only=rolling_restart\n        - cluster\n";
    assert!(applied.contains(arguments), "{applied}");

    let stage = Stage::new();
    assert!(stage.run(&["--only", "from_another"]).status.success());
    assert!(
        stage
            .call("kubectl kustomize tests/kind/manifests/suite")
            .is_none()
    );

    let stage = Stage::new();
    let output = stage.run(&["--only", "no_such_case"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no_such_case"));
    assert!(stage.call("docker").is_none(), "nothing was begun");
}

#[test]
fn what_is_missing_is_said_before_anything_is_begun() {
    let stage = Stage::new();
    for tool in ["kind", "kubectl"] {
        fs::remove_file(stage.root.path().join("bin").join(tool)).unwrap();
    }
    let output = stage.run(&[]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    for tool in ["kind", "kubectl"] {
        assert!(said.contains(&format!("missing: {tool}")), "{said}");
    }
    assert!(said.contains("https://kind.sigs.k8s.io/"), "{said}");
    assert!(!said.contains("missing: docker"), "{said}");
    assert!(stage.call("docker build").is_none());

    let stage = Stage::new().with("FAIL", "docker info");
    let output = stage.run(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no engine"));
    assert!(stage.call("docker build").is_none());

    let stage = Stage::new().with("FAIL", "docker build --help");
    let output = stage.run(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("docker-buildx"));
    assert!(stage.call("docker build --file").is_none());
}

#[test]
fn without_an_engine_nothing_is_built() {
    let stage = Stage::new().with("FAIL", "docker info");
    assert_eq!(stage.run(&[]).status.code(), Some(3));
    assert!(stage.call("docker build").is_none());
}

#[test]
fn arguments_that_are_none_are_refused() {
    for arguments in [
        &["--only", "a b"][..],
        &["--only"],
        &["--image", "x\n  command: [sh]"],
        &["--image", ""],
        &["--images", "mysql:9"],
    ] {
        let stage = Stage::new();
        let output = stage.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stage.call("docker").is_none(), "{arguments:?}");
    }
    let output = Stage::new().run(&["--help"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("tests/kind/run --keep"));
}

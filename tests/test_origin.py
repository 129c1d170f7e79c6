"""An origin says what makes a figure, and never names a commit that is not that of the code."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import slimming
from slimming.origin import PACKAGES, origin

PACKAGE = Path(slimming.__file__).parent
ASK = "import slimming.origin as o, json; print(json.dumps([*o.commit(), o.code(), o.doubts()]))"


def test_an_origin_says_command_versions_machine_device_and_threads(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/slimming", "train", '{"a": 1}'])
    made = origin("cpu", 3)
    assert made["command"] == "slimming train '{\"a\": 1}'"
    assert made["versions"]["python"] == platform.python_version()
    assert made["versions"]["torch"] == torch.__version__
    assert set(PACKAGES) < set(made["versions"])
    assert made["machine"]["cores"] == os.cpu_count()
    assert made["machine"]["processor"]
    assert (made["device"], made["threads"]) == ("cpu", 3)
    assert made["started"].endswith("+00:00")
    json.dumps(made, allow_nan=False)


class Tree:
    """A folder that is a git repository, and a copy of the package somewhere in it."""

    def __init__(self, root, package="src/slimming"):
        self.root, self.package = root, root / package
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))

    def git(self, *arguments):
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "all")
        return self.git("rev-parse", "HEAD")

    def ask(self, **environment):
        """The commit that the package names, why it names none, the digest of its code, and what it warns of."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        clean |= {"PYTHONPATH": str(self.package.parent), "GIT_CEILING_DIRECTORIES": str(self.root.parent)}
        asked = [sys.executable, "-B", "-c", ASK]
        done = subprocess.run(asked, env=clean | environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


def test_the_commit_is_that_of_the_code_and_changes_are_marked(tmp_path):
    tree = Tree(tmp_path)
    name, doubt, code, warnings = tree.ask()
    assert (name, doubt) == ("", "the package lies in no git repository")
    assert warnings == [f"no commit of the code is known ({doubt}); its digest is {code}"]
    tree.git("init", "--quiet")
    head = tree.commit()
    assert tree.ask() == [head, "", code, []]
    (tmp_path / "other.txt").write_text("not the package")
    assert tree.ask()[0] == head
    (tree.package / "new.py").write_text("x = 1\n")
    assert tree.ask()[0] == f"{head}+"
    assert tree.ask()[2] != code


@pytest.mark.parametrize("ignored", [True, False])
def test_a_package_installed_inside_another_repository_is_not_of_its_commit(ignored, tmp_path):
    tree = Tree(tmp_path, ".venv/lib/site-packages/slimming")
    (tmp_path / ".gitignore").write_text(".venv\n" if ignored else "")
    tree.git("init", "--quiet")
    tree.commit()
    name, doubt, _, warnings = tree.ask()
    assert (name, doubt) == ("", "the package is installed, and runs from no source tree of its own")
    assert len(warnings) == 1


def test_a_tree_of_another_user_says_what_to_do(tmp_path):
    tree = Tree(tmp_path)
    tree.git("init", "--quiet")
    tree.commit()
    name, doubt, *_ = tree.ask(GIT_TEST_ASSUME_DIFFERENT_OWNER="1", GIT_CONFIG_GLOBAL=os.devnull)
    assert name == ""
    assert doubt.endswith(f"git config --global --add safe.directory {tmp_path}")


def test_without_git_there_is_no_commit(tmp_path):
    tree = Tree(tmp_path)
    assert tree.ask(PATH="")[:2] == ["", "git is not installed"]


def test_line_ends_do_not_change_the_digest_of_the_code(tmp_path):
    tree = Tree(tmp_path)
    code = tree.ask()[2]
    for path in (file for file in tree.package.rglob("*") if file.is_file()):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert tree.ask()[2] == code


def test_the_package_runs_from_its_source_tree_without_being_installed(tmp_path):
    tree = Tree(tmp_path)
    # The project's own environment has the package installed; -S and the path of the others leave its metadata out.
    others = [path for path in sys.path if path.endswith("site-packages")]
    link = tmp_path / "others"
    link.mkdir()
    for folder in others:
        for path in Path(folder).iterdir():
            if "slimming" not in path.name and not (link / path.name).exists():
                (link / path.name).symlink_to(path)
    code = "import slimming.origin as o; print(o.origin('cpu', 1)['versions'])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree.package.parent), str(link)])}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'slimming': 'not installed'" in done.stdout
    assert f"'torch': '{torch.__version__}'" in done.stdout

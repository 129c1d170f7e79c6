"""Git's history says whether the rules came first, and where it does not say, nothing is claimed."""

import subprocess

import pytest

import synthetic
from slimming import ledger
from slimming.claims import precedence


class Repository:
    def __init__(self, root):
        self.root = root
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("README.md", "first")

    def git(self, *arguments):
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, name, text=None):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
        self.git("add", name)
        self.git("commit", "--quiet", "--message", name)
        return self.git("rev-parse", "HEAD")

    def measure(self, commit):
        """A ledger whose records say that `commit` measured them."""
        paths = synthetic.write(self.root, networks=("vgg19",), methods=("none",))
        for path in paths:
            path.write_text(path.read_text().replace(synthetic.COMMIT, commit))
        ledger.write("synthetic", paths, self.root / "results")

    def ask(self):
        return precedence.of(self.root / "claims.yaml", self.root / "results")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


def test_rules_in_the_history_of_the_measuring_commit_came_first(repository):
    rules = repository.commit("claims.yaml", "rules")
    repository.measure(repository.commit("code.py", "x"))
    found = repository.ask()
    assert found.first == "rules first"
    assert found.rules.startswith(f"{rules[:12]}, 20")


def test_rules_that_measured_themselves_count_as_first(repository):
    repository.measure(repository.commit("claims.yaml", "rules"))
    assert repository.ask().first == "rules first"


@pytest.mark.parametrize("mark", ["", "+"])
def test_rules_committed_after_the_measuring_did_not_come_first_even_if_the_ledger_came_later(repository, mark):
    repository.measure(repository.git("rev-parse", "HEAD") + mark)
    repository.commit("claims.yaml", "rules")
    repository.commit("results")
    assert repository.ask().first == "numbers first"
    assert "not blind" in repository.ask().words


def test_rules_that_are_moved_unchanged_are_as_old_as_before(repository):
    repository.measure(repository.commit("rules.yaml", "rules"))
    repository.git("mv", "rules.yaml", "claims.yaml")
    repository.git("commit", "--quiet", "-m", "moved")
    assert repository.ask().first == "rules first"
    repository.commit("claims.yaml", "rules, changed")
    assert repository.ask().first == "numbers first"


def test_of_several_files_of_rules_the_last_one_counts(repository):
    first = repository.commit("claims.yaml", "rules")
    repository.measure(first)
    second = repository.commit("others.yaml", "rules of another paper")
    files = [repository.root / name for name in ("claims.yaml", "others.yaml")]
    found = precedence.of(files, repository.root / "results")
    assert found.first == "numbers first"
    assert first[:12] in found.rules
    assert second[:12] in found.rules
    assert precedence.of(files[:1], repository.root / "results").first == "rules first"


def test_rules_changed_after_the_measuring_did_not_come_first(repository):
    repository.measure(repository.commit("claims.yaml", "rules"))
    repository.commit("claims.yaml", "other rules")
    assert repository.ask().first == "numbers first"


def test_where_the_measuring_commit_is_not_known_the_ledgers_own_stands_for_it(repository):
    repository.commit("claims.yaml", "rules")
    repository.measure("f" * 40)
    assert repository.ask().first == "unknown"
    repository.commit("results")
    found = repository.ask()
    assert (found.first, found.measured) == ("rules first", "f" * 12)
    repository.commit("claims.yaml", "other rules")
    assert repository.ask().first == "numbers first"


def test_rules_and_ledger_of_one_commit_have_no_order_in_which_rules_came_first(repository):
    (repository.root / "claims.yaml").write_text("rules")
    repository.measure("f" * 40)
    repository.git("add", "claims.yaml")
    repository.commit("results")
    assert repository.ask().first == "numbers first"


def test_rules_that_are_not_committed_as_they_are_prove_nothing(repository):
    repository.measure(repository.commit("claims.yaml", "rules"))
    (repository.root / "claims.yaml").write_text("edited")
    assert repository.ask()[:2] == ("unknown", "not committed")


def test_without_history_nothing_is_known(tmp_path, repository):
    repository.commit("claims.yaml", "rules")
    repository.measure(repository.git("rev-parse", "HEAD"))
    repository.commit("results")
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.root}", str(tmp_path / "shallow"))
    found = precedence.of(tmp_path / "shallow/claims.yaml", tmp_path / "shallow/results")
    assert found[:2] == ("unknown", precedence.CUT_SHORT)


def test_outside_git_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    ledger.write("synthetic", synthetic.write(tmp_path, networks=("vgg19",), methods=("none",)), tmp_path)
    found = precedence.of(tmp_path / "claims.yaml", tmp_path)
    assert found == ("unknown", "not committed", found.measured)

"""The library of scenarios goes along with the package: listed, copied, and played from where it was copied to."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from replicator.scenario.cli import library, scenario
from replicator.scenario.script.load import load

ROOT = Path(__file__).parents[2]


def test_a_scenario_of_the_library_is_copied_by_its_name_and_never_over_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(scenario, ["list"])
    assert listed.exit_code == 0
    names = [line.split()[0] for line in listed.output.splitlines()]
    assert "primary-crash" in names and set(names) == {file.stem for file in library().glob("*.toml")}
    for words, name in ((["chain"], "chain.toml"), (["chain.toml", "mine.toml"], "mine.toml")):
        copied = CliRunner().invoke(scenario, ["copy", *words])
        assert copied.exit_code == 0 and name in copied.output, copied.output
        assert load(tmp_path / name)[0] == load(library() / "chain.toml")[0]
    again = CliRunner().invoke(scenario, ["copy", "chain"])
    assert again.exit_code == 2 and "is there already" in again.output
    unknown = CliRunner().invoke(scenario, ["copy", "chian"])
    assert unknown.exit_code == 2 and "chain, " in unknown.output
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "mine.toml").rename(tmp_path / "scenarios" / "mine.toml")
    assert CliRunner().invoke(scenario, ["list"]).output.split()[0] == "scenarios/mine.toml", "one's own come first"


def test_the_library_is_in_what_is_built(tmp_path: Path) -> None:
    if find_spec("setuptools") is None:
        pytest.skip("no setuptools in this environment to build with")
    words = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "base")]
    done = subprocess.run([*words, "--build-lib", str(tmp_path / "lib")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = sorted(file.name for file in (tmp_path / "lib" / "replicator" / "scenario" / "library").glob("*.toml"))
    assert built == sorted(file.name for file in (ROOT / "scenarios").glob("*.toml"))

"""Installation and CI: pins fit their Python, CI runs existing commands, the documents agree with the scripts."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
JOBS = WORKFLOW["jobs"]
DISTRIBUTIONS = ["humble", "jazzy", "kilted", "lyrical"]
SCRIPT = (ROOT / ".ci/ros").read_text()
INSTALL = (ROOT / "docs/install.md").read_text()
PINS = {"beside_apt.txt": ("3.10", "3.12"), "runtime.txt": ("3.11", "3.12", "3.13", "3.14")}
"""The Pythons that each file is for."""


def _pins(file: str, python: str) -> dict[str, Version]:
    """Versions that a requirements file installs under a Python, by name."""
    found = {}
    for line in (ROOT / "requirements" / file).read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-"):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
                (specifier,) = requirement.specifier
                assert specifier.operator == "==", line
                name = requirement.name.lower().replace("_", "-")
                assert name not in found, f"{name} twice under Python {python}"
                found[name] = Version(specifier.version)
    return found


def _ranges() -> list[Requirement]:
    """install_requires of setup.py."""
    call = next(
        n
        for n in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(n, ast.Call) and _name(n) == "setup"
    )
    return [
        Requirement(text)
        for text in ast.literal_eval(next(k.value for k in call.keywords if k.arg == "install_requires"))
    ]


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


@pytest.mark.parametrize(("file", "python"), [(file, python) for file, pythons in PINS.items() for python in pythons])
def test_the_pins_of_a_python_meet_what_the_package_asks_for(file, python):
    pins = _pins(file, python)
    for wanted in _ranges():
        assert pins[wanted.name.lower()] in wanted.specifier, wanted


def test_beside_apt_numpy_is_the_one_that_its_packages_are_compiled_against():
    assert _pins("beside_apt.txt", "3.10")["numpy"] < Version("2") <= _pins("runtime.txt", "3.14")["numpy"]


def test_the_code_is_checked_for_the_oldest_python_that_it_is_installed_under():
    settings = (ROOT / "pyproject.toml").read_text()
    assert 'target-version = "py310"' in settings and 'python_version = "3.10"' in settings
    assert 'python_requires=">=3.10"' in (ROOT / "setup.py").read_text()


def test_ci_has_every_living_distribution_a_bound_on_its_time_and_no_secrets():
    assert JOBS["ros"]["strategy"]["matrix"]["distribution"] == DISTRIBUTIONS
    assert JOBS["ros"]["container"] == "ros:${{ matrix.distribution }}"
    assert all(0 < job["timeout-minutes"] <= 120 for job in JOBS.values())
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "secrets" not in (ROOT / ".github/workflows/ci.yml").read_text()
    assert {"push", "pull_request"} <= set(WORKFLOW[True])  # YAML 1.1 reads `on` as true


def test_ci_uses_actions_of_one_version_and_commands_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = []
    for step in (step for job in JOBS.values() for step in job["steps"]):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", step["uses"]), step
        else:
            commands.append(shlex.split(step["run"]))
    assert len(commands) == 2
    for command in commands:
        if command[0] == "make":
            assert set(command[1:]) <= targets
        else:
            file = ROOT / command[0]
            assert file.stat().st_mode & 0o111 and file.read_text().startswith("#!/bin/sh\n"), command


def test_the_script_of_ci_names_files_and_keys_that_exist():
    named = re.findall(r"(?:tests|requirements)/[\w/]+(?:\.\w+)?", SCRIPT)
    assert len(named) > 8
    for path in named:
        assert (ROOT / path).exists(), path
    for file in PINS:
        assert file in SCRIPT
    (skipped,) = re.findall(r'--skip-keys "([^"]+)"', SCRIPT)
    keys = set(re.findall(r"<exec_depend>([^<]+)</exec_depend>", (ROOT / "package.xml").read_text()))
    assert set(skipped.split()) <= keys


def test_the_document_says_what_the_script_of_ci_does():
    """Compared line by line, except for the folders."""
    assert 'rosdep install --from-paths src --ignore-src -y --skip-keys "' in INSTALL
    (skipped,) = re.findall(r'--skip-keys "([^"]+)"', SCRIPT)
    assert f'--skip-keys "{skipped}"' in INSTALL
    build = ".venv/bin/python -m colcon build --packages-select sgrocc_ros"
    for line in ("-m venv --system-site-packages .venv", "touch .venv/COLCON_IGNORE", build):
        assert line in SCRIPT and line in INSTALL, line
    for word in (*DISTRIBUTIONS, *PINS):
        assert word in INSTALL.lower(), word


def test_the_read_me_leads_to_the_document():
    assert "(docs/install.md)" in (ROOT / "README.md").read_text()

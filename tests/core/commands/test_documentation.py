"""Commands, options, make targets, modules, files and links in the documentation exist."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from sgrocc_core.cli import build_parser, find_commands

ROOT = Path(__file__).resolve().parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "models/small/MODEL_CARD.md",
]
STARTS = ("sgrocc", ".venv/bin/sgrocc")


def lines_of(page):
    """Shell lines in the code blocks of a page: continued lines are joined, comments removed, and && splits a line."""
    found = []
    for kind, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(), re.M | re.S):
        if kind not in ("", "bash", "sh", "console"):
            continue
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            line = re.sub(r"(^|\s)#.*", "", line).removeprefix("$ ").strip()
            found += [part.strip() for part in line.split("&&") if part.strip()]
    return found


def typed(*starts):
    """(page, line) of all shell lines that begin with one of the words."""
    return [
        (page.name, line)
        for page in PAGES
        for line in lines_of(page)
        if line.startswith(tuple(f"{s} " for s in starts))
    ]


@pytest.mark.parametrize(("page", "line"), typed(*STARTS))
def test_a_documented_command_line_is_one(page, line):
    if "..." in line:
        pytest.skip("shortened in the documentation")
    build_parser(find_commands()).parse_args(shlex.split(line)[1:])
    for word in shlex.split(line):
        if word.startswith("config/"):
            assert (ROOT / word).is_file(), word


def test_there_are_lines_to_check():
    assert len(typed(*STARTS)) > 25 and len(typed("make")) >= 3 and len(typed("python")) >= 1


@pytest.mark.parametrize(("page", "line"), typed("make"))
def test_a_documented_target_is_in_the_makefile(page, line):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert line.split()[1] in targets


@pytest.mark.parametrize(("page", "line"), typed("python", "torchrun"))
def test_a_documented_module_is_there(page, line):
    module = re.search(r"-m (?:-- )?([\w.]+)", line)[1]
    assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://")):
            name, _, anchor = target.partition("#")
            linked = page.parent / name if name else page
            assert linked.exists(), target
            if anchor:
                headings = re.findall(r"^#+ (.*)", linked.read_text(), re.M)
                assert anchor in {
                    re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
                }, target


def test_help_texts_show_command_lines_that_work():
    parser = build_parser(find_commands())
    shown = [
        line.strip()
        for module in find_commands().values()
        for line in module.HELP.splitlines()
        if line.startswith("  sgrocc ")
    ]
    assert len(shown) > 5
    for line in shown:
        if "..." not in line:
            parser.parse_args(shlex.split(re.split(r"\s{2,}", line)[0])[1:])


def test_the_page_of_the_own_camera_names_everything_that_is_read():
    from sgrocc_core.data.images import COLOR_ENCODINGS, DEPTH_ENCODINGS
    from sgrocc_core.geometry.calibration import KNOWN_MODELS, PINHOLE_COEFFICIENTS

    page = (ROOT / "docs/own_camera.md").read_text()
    named = {word.lower() for word in re.findall(r"`([^`\n]+)`", page)}
    assert {*COLOR_ENCODINGS, *map(str.lower, DEPTH_ENCODINGS), *filter(None, KNOWN_MODELS)} <= named
    assert f"{', '.join(map(str, PINHOLE_COEFFICIENTS[:-1]))} or {PINHOLE_COEFFICIENTS[-1]} numbers" in page

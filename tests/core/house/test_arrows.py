"""The plan of the house: imports only run down, nothing runs in a circle, and no file or folder outgrows its bound."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FLOORS = (
    ("classes", "errors", "progress", "entry_points", "vectors"),
    ("share",),
    ("frame", "report", "yaml_file", "array_layout", "words"),
    ("geometry",),
    ("depth",),
    ("checks",),
    ("data",),
    ("gaussians",),
    ("voxels", "drawing"),
    ("network",),
    ("engines",),
    ("open_vocabulary",),
    ("mapping",),
    ("map_files",),
    ("viewing",),
    ("evaluation",),
    ("training",),
    ("generation",),
    ("bench",),
    ("commands",),
    ("cli",),
)
"""The files and folders of sgrocc_core from the ground up; each imports only those below it."""
RANKS = {name: rank for rank, names in enumerate(FLOORS) for name in names}
MOST_LINES = 400
MOST_FILES = 12


def modules_of(root):
    """Paths of the modules of both packages, by module name."""
    found = {}
    for path in sorted(p for package in ("sgrocc_core", "sgrocc_ros") for p in (root / package).rglob("*.py")):
        found[".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def runtime_nodes(tree):
    """All nodes of a syntax tree but those that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from (other, *runtime_nodes(other))
            continue
        yield node
        yield from runtime_nodes(node)


def imports_of(module, path, modules):
    """The modules of the house that a module imports, at its top or inside a function."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in runtime_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            full = {f"{source}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else source for name in full}
    return {name for name in found if name.split(".")[0] in ("sgrocc_core", "sgrocc_ros")}


def graph_of(root):
    modules = modules_of(root)
    return {module: imports_of(module, path, modules) for module, path in modules.items()}


def wrong_arrows(graph):
    """Imports of sgrocc_core that do not run down, as `importer -> imported`."""
    wrong = []
    for module, imported in graph.items():
        if not module.startswith("sgrocc_core."):
            continue
        room = module.split(".")[1]
        for other in sorted(imported):
            parts = other.split(".")
            elsewhere = len(parts) > 1 and parts[1] != room
            if parts[0] == "sgrocc_ros" or (elsewhere and not RANKS.get(parts[1], 99) < RANKS.get(room, -1)):
                wrong.append(f"{module} -> {other}")
    return wrong


def circles(graph):
    """Modules from which an import leads back to themselves."""
    found = []
    for start in graph:
        reached, ahead = set(), list(graph[start])
        while ahead:
            module = ahead.pop()
            if module not in reached:
                reached.add(module)
                ahead += graph.get(module, ())
        if start in reached:
            found.append(start)
    return found


def too_long(root, folders):
    paths = [path for folder in folders for path in (root / folder).rglob("*.py")]
    return [f"{p.relative_to(root)}: {n}" for p in paths if (n := len(p.read_text().splitlines())) > MOST_LINES]


def too_full(root):
    """Folders of the packages and of the tests with more files than MOST_FILES, `__init__.py` not counted."""
    files = [*modules_of(root).values(), *(root / "tests").rglob("*.py")]
    counts = Counter(str(path.parent.relative_to(root)) for path in files if path.name != "__init__.py")
    return {folder: count for folder, count in counts.items() if count > MOST_FILES}


@pytest.fixture(scope="module")
def graph():
    return graph_of(ROOT)


def test_every_room_has_a_floor(graph):
    rooms = {module.split(".")[1] for module in graph if module.startswith("sgrocc_core.")}
    assert rooms == set(RANKS)


def test_imports_only_run_down(graph):
    assert wrong_arrows(graph) == []


def test_no_import_runs_in_a_circle(graph):
    assert circles(graph) == []


def test_the_house_itself_does_not_use_its_public_interface():
    for path in modules_of(ROOT).values():
        for node in runtime_nodes(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "sgrocc_core":
                assert [alias.name for alias in node.names] == ["__version__"], path


def test_no_file_is_too_long():
    assert too_long(ROOT, ("sgrocc_core", "sgrocc_ros", "tests")) == []


def test_no_folder_is_too_full():
    assert too_full(ROOT) == {}


def build(root, **files):
    """A made-up house: the text of each module; `__` stands for a folder."""
    for name, text in files.items():
        path = root / Path(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("module", "text", "arrow"),
    [
        ("sgrocc_core__depth__a", "from sgrocc_core.voxels.b import f", "sgrocc_core.depth.a -> sgrocc_core.voxels.b"),
        ("sgrocc_core__depth__a", "from sgrocc_core.voxels import b", "sgrocc_core.depth.a -> sgrocc_core.voxels.b"),
        ("sgrocc_core__depth__a", "from ..voxels import b", "sgrocc_core.depth.a -> sgrocc_core.voxels.b"),
        ("sgrocc_core__depth__a", "import sgrocc_core.voxels.b", "sgrocc_core.depth.a -> sgrocc_core.voxels.b"),
        (
            "sgrocc_core__depth__a",
            "def f():\n    import sgrocc_core.voxels.b",
            "sgrocc_core.depth.a -> sgrocc_core.voxels.b",
        ),
        (
            "sgrocc_core__drawing__a",
            "import sgrocc_core.voxels.b",
            "sgrocc_core.drawing.a -> sgrocc_core.voxels.b",
        ),
        ("sgrocc_core__errors", "import sgrocc_core.voxels.b", "sgrocc_core.errors -> sgrocc_core.voxels.b"),
        ("sgrocc_core__attic__a", "import sgrocc_core.voxels.b", "sgrocc_core.attic.a -> sgrocc_core.voxels.b"),
        ("sgrocc_core__engines__a", "import sgrocc_core.training.b", "sgrocc_core.engines.a -> sgrocc_core.training.b"),
        (
            "sgrocc_core__commands__a",
            "from sgrocc_ros.node import main",
            "sgrocc_core.commands.a -> sgrocc_ros.node",
        ),
    ],
)
def test_an_arrow_up_is_found(tmp_path, module, text, arrow):
    root = build(
        tmp_path, **{module: text}, sgrocc_core__voxels__b="", sgrocc_core__training__b="", sgrocc_ros__node=""
    )
    assert wrong_arrows(graph_of(root)) == [arrow]


def test_arrows_down_and_those_of_type_checkers_are_not_reported(tmp_path):
    text = "import numpy\nimport sgrocc_core.depth.a\nfrom typing import TYPE_CHECKING\n"
    text += "if TYPE_CHECKING:\n    from sgrocc_core.mapping.c import f\n"
    root = build(tmp_path, sgrocc_core__voxels__b=text, sgrocc_core__depth__a="", sgrocc_core__mapping__c="")
    graph = graph_of(root)
    assert wrong_arrows(graph) == [] and graph["sgrocc_core.voxels.b"] == {"sgrocc_core.depth.a"}


def test_a_circle_is_found_inside_a_room(tmp_path):
    root = build(
        tmp_path,
        sgrocc_core__depth__a="from sgrocc_core.depth import b",
        sgrocc_core__depth__b="def f():\n    from sgrocc_core.depth.c import g",
        sgrocc_core__depth__c="import sgrocc_core.depth.a",
        sgrocc_core__depth__d="import sgrocc_core.depth.a",
    )
    assert circles(graph_of(root)) == [f"sgrocc_core.depth.{name}" for name in "abc"]


def test_long_files_and_full_folders_are_found(tmp_path):
    long = {f"sgrocc_core__depth__m{n}": "x = 1\n" * (401 if n == 3 else 400) for n in range(13)}
    root = build(tmp_path, **long, **{f"tests__core__data__m{n}": "" for n in range(20)})
    assert too_long(root, ("sgrocc_core",)) == ["sgrocc_core/depth/m3.py: 401"]
    assert too_full(root) == {"sgrocc_core/depth": 13, "tests/core/data": 20}

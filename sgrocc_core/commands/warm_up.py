"""`sgrocc warm-up`: compiles what is compiled once, so that the next start does not wait for it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sgrocc_core.commands.map import add_model_arguments, add_precision

HELP = """Compile the kernels and the networks once, so that the next start does not wait for it.

Run it after the installation, as the user that maps: Numba's cache of the kernels is filled, and where the runtime
allows it the compiled networks are kept (OpenVINO, TensorRT). What is there already is loaded, not compiled again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_model_arguments(parser)
    add_precision(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compile, say what was done and how long it took; exit code 0."""
    started = time.perf_counter()
    from sgrocc_core.engines.cache import cache_folder
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.mapping.mapper import MapperConfig
    from sgrocc_core.mapping.warm_up import compile_kernels

    now = _said("imports", started, "")
    engine = open_engine(arguments.model, arguments.engine, arguments.device, arguments.threads, arguments.precision)
    from_cache = getattr(engine, "from_cache", None)
    done = {
        None: "this runtime keeps nothing from start to start",
        True: f"compiled before, loaded from {_short(cache_folder(''))}",
        False: f"compiled, kept in {_short(cache_folder(''))}",
    }[from_cache]
    now = _said("networks", now, f"{engine.spec.name}: {engine.description}; {done}")
    made = compile_kernels(engine, MapperConfig())
    where = f" from {_common(made.folders)}" if made.loaded and not made.compiled else ""
    kept = f", kept in {_common(made.folders)}" if made.compiled else ""
    now = _said("kernels", now, f"{len(made.compiled)} compiled{kept}, {len(made.loaded)} loaded{where}")
    print(f"{'together':<9}{now - started:6.1f} s")
    return 0


def _said(part: str, since: float, done: str) -> float:
    now = time.perf_counter()
    print(f"{part:<9}{now - since:6.1f} s  {done}".rstrip(), flush=True)
    return now


def _short(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)


def _common(folders: tuple[Path, ...]) -> str:
    """The folder that holds all of these."""
    shared = folders[0]
    while not all(folder.is_relative_to(shared) for folder in folders):
        shared = shared.parent
    return _short(shared)

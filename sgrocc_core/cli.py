"""The command line `sgrocc`: finds the commands, parses the arguments and prints errors on one line."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

import sgrocc_core.commands
from sgrocc_core import __version__
from sgrocc_core.entry_points import offered_modules
from sgrocc_core.errors import SgroccError

DESCRIPTION = "Semantic 3D occupancy maps from one moving camera."
EPILOG = (
    "`sgrocc COMMAND --help` explains a command. "
    "First steps: `make demo`, or `sgrocc map --bag YOUR_BAG --out runs/mine`."
)
HINTS = dict.fromkeys(("torch", "onnx", "onnxscript", "tensorboard", "diffusers"), "run `make setup-train`") | {
    "rerun": "run `make setup-view`, or `pip install -r requirements/view.txt`",
    "matplotlib": "run `make setup`, or `pip install -r requirements/charts.txt`",
    "scipy": "run `make setup-train`",
    "trimesh": "run `make setup`, or `pip install -r requirements/rooms.txt`",
}
"""How to install the packages that `make setup` does not install, by package."""


def find_commands() -> dict[str, ModuleType]:
    """The command modules by name, in alphabetical order.

    They are the modules of `sgrocc_core.commands` (`warm_up` is `warm-up`) and the entry points `sgrocc.commands` of
    other installed packages. The ROS node adds its commands in this way, because the core does not import it.
    """
    names = [
        module.name for module in pkgutil.iter_modules(sgrocc_core.commands.__path__) if not module.name.startswith("_")
    ]
    found = {name.replace("_", "-"): importlib.import_module(f"sgrocc_core.commands.{name}") for name in names}
    return dict(sorted({**found, **offered_modules("sgrocc.commands")}.items()))


def build_parser(commands: dict[str, ModuleType]) -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(prog="sgrocc", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"sgrocc {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in commands.items():
        brief = module.HELP.strip().splitlines()[0]
        subparser = subparsers.add_parser(
            name, help=brief, description=module.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: The arguments; those of this process if None.

    Returns:
        Exit code: the command's own, 1 after an error, 130 when interrupted.

    Raises:
        SystemExit: Wrong arguments (code 2), or a request for help (code 0).
    """
    commands = find_commands()
    arguments = build_parser(commands).parse_args(argv)
    try:
        return int(commands[arguments.command].run(arguments))
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name.startswith("sgrocc"):
            raise
        return _fail(f"the Python package {name!r} is not installed; {HINTS.get(name, 'run `make setup`')}")
    except (SgroccError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

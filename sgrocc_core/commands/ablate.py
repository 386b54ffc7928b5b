"""`sgrocc ablate`: trains variants of the network from the same weights, data and seeds, and compares them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgrocc_core.share import find_shared

HELP = """Compare variants of the spatial expert, of its image engine, or of the temporal manager.

  sgrocc ablate lifters --budget 3000 --seeds 3 --data runs/rooms/train --heldout runs/rooms/heldout

trains every variant of config/ablations/NAME.yaml for --budget steps with every seed. All variants start from the
same image engine and use the same views. Each is scored on the held-out views with predicted and with sensor depth.
Means, spreads and differences paired by seed are written to RESULTS/NAME.md, .csv, .runs.csv and .png.

The ablation of the image engine (backbone) trains the image stage from the start and scores depth and 2D classes.
Ablations of the temporal manager (training, fusion, confidence) start from a trained spatial expert, train on walks
and score maps; their --data and --heldout are sets made with `sgrocc synth --embodied`.

The ablation of depth (depth) trains nothing: --model names an exported model, --heldout videos made with
`sgrocc synth --video`.

The ablation of generation trains `sgrocc imagine`'s networks from one autoencoder, --weights, and scores them on a list
of prompts; then it trains perception with imagined rooms (imagined, which can also be run on its own).

The command first prints how long it will take. It can be interrupted at any time; run again, it keeps finished runs
and resumes the interrupted one from its checkpoint. Several processes started side by side (--threads 1) share the
runs. docs/evaluation.md explains the results."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    names = ", ".join(sorted(path.stem for path in find_shared("config/ablations").glob("*.yaml")))
    parser.add_argument("name", metavar="NAME", help=f"an ablation under config/ablations ({names}), or a YAML file")
    parser.add_argument("--budget", type=int, metavar="STEPS", help="training steps of every run (depth: none)")
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs of each variant, with seeds 1 to N (default: 3)"
    )
    train, held = Path("runs/rooms/train"), Path("runs/rooms/heldout")
    base = "training configuration that variants change (default: config/train/small_local.yaml or small_embodied.yaml)"
    parser.add_argument("--config", type=Path, metavar="YAML", help=base)
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[train], metavar="DIR", help=f"training scenes (default: {train})"
    )
    parser.add_argument(
        "--heldout", type=Path, default=held, metavar="DIR", help="scenes to evaluate on (default: %(default)s)"
    )
    limit = "maximum number of held-out views or scenes, spread evenly (default: all)"
    parser.add_argument("--limit", type=int, default=0, metavar="N", help=limit)
    parser.add_argument(
        "--packed",
        type=Path,
        metavar="DIR",
        help="cache of decoded views (default: `packed` in each data folder)",
    )
    weights = "weights from which all variants take their image engine, or whole expert (default: the model's)"
    parser.add_argument("--weights", type=Path, metavar="FILE", help=weights)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/ablations"),
        metavar="DIR",
        help="folder of the runs (default: %(default)s)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("docs/results"),
        metavar="DIR",
        help="folder of tables and chart (default: %(default)s)",
    )
    parser.add_argument("--model", default="small", metavar="MODEL", help="depth: name or folder (default: small)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of PyTorch (default: the configuration's)")
    parser.add_argument("--estimate", action="store_true", help="print how long it will take, and exit")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.training.ablations.ablation import CONFIGS, Ablation, at_hand, load_ablation
    from sgrocc_core.training.ablations.embodied import EmbodiedTask
    from sgrocc_core.training.ablations.findings import Findings
    from sgrocc_core.training.ablations.image import ImageTask
    from sgrocc_core.training.ablations.local import LocalTask
    from sgrocc_core.training.ablations.report import write_report
    from sgrocc_core.training.ablations.runs import AblationRuns, readable
    from sgrocc_core.training.ablations.task import Options, Task

    ablation = load_ablation(args.name)
    if ablation.task == "depth":
        return _depth(args, ablation)
    if ablation.task in ("generation", "imagined"):
        return _generation(args, ablation)
    if args.budget is None:
        raise ConfigError(f"{args.name} trains its variants: give --budget, the steps of every run")
    ablation, left_out = at_hand(ablation)
    for reason in left_out:
        print(reason)
    default = CONFIGS[ablation.task]
    config = args.config or find_shared(default)
    args.config = args.config or Path(default)  # what the report names: a path that is the same on every machine
    options = Options(
        args.budget, args.seeds, config, tuple(args.data), args.heldout, args.out, args.packed, args.weights,
        args.limit, args.threads,
    )  # fmt: skip
    tasks: dict[str, Callable[[Ablation, Options], Task]] = {
        "local": LocalTask,
        "embodied": EmbodiedTask,
        "image": ImageTask,
    }
    task = tasks[ablation.task](ablation, options)
    runs = AblationRuns(ablation, options, task)
    plan = runs.open_runs()
    total = len(ablation.variants) * args.seeds
    print(f"{ablation.title}: {len(ablation.variants)} variants x {args.seeds} seeds, {args.budget} steps each")
    print(f"  {total - len(plan)} of {total} runs are finished")
    needed = runs.seconds_needed()
    for variant, (step, view) in needed.items():
        print(f"  {variant}: {step:.2f} s per step, {view:.2f} s per held-out {task.unit}")
    if plan:
        print(f"  about {readable(runs.seconds_left(needed))} on this machine at its current load", flush=True)
    if args.estimate:
        return 0

    def report() -> None:
        """Rewrite the tables and the chart from the finished runs."""
        results: dict[str, dict[int, dict[str, Any]]] = {}
        for variant in ablation.variants:
            found = {seed: runs.result(variant, seed) for seed in runs.seeds}
            results[variant.name] = {seed: result for seed, result in found.items() if result is not None}
        findings = Findings(ablation, results)
        if results[ablation.variants[0].name]:
            files.update(map(str, write_report(findings, _facts(args, runs, results), args.results / ablation.name)))

    files: set[str] = set()
    runs.run(needed, report)
    if not plan:
        report()
    print("\n".join(sorted(files)))
    return 0


def _depth(args: argparse.Namespace, ablation: Any) -> int:
    """The ablation of depth from motion."""
    from sgrocc_core.data.videos import open_videos
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.progress import progress
    from sgrocc_core.report import machine
    from sgrocc_core.training.ablations.depth import evaluate_variants
    from sgrocc_core.training.ablations.findings import Findings
    from sgrocc_core.training.ablations.report import write_report

    engine = open_engine(args.model, threads=args.threads or 0)
    size = (320, 240) if engine.spec.image_size[0] <= 320 else None
    videos = open_videos(args.heldout, "test", size, args.limit)
    results, facts = evaluate_variants(ablation, engine, progress(videos, desc=ablation.title, unit="video"))
    here = machine()
    facts |= {
        "command": f"`sgrocc ablate {args.name} --model {args.model} --heldout {args.heldout}`",
        "machine": f"{here['cpu']}, {here['cores']} cores",
    }
    files = write_report(Findings(ablation, results), facts, args.results / ablation.name)
    print("\n".join(map(str, files)))
    return 0


def _generation(args: argparse.Namespace, ablation: Any) -> int:
    """The ablations of generation, and of perception with imagined rooms."""
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.evaluation.prompts import read_prompts
    from sgrocc_core.generation.ablation import run_generation, run_imagined
    from sgrocc_core.report import machine
    from sgrocc_core.training.ablations.ablation import CONFIGS, load_ablation
    from sgrocc_core.training.ablations.findings import Findings
    from sgrocc_core.training.ablations.report import write_report
    from sgrocc_core.training.ablations.task import Options

    if args.budget is None or args.weights is None:
        raise ConfigError(
            f"{args.name} needs --budget, the steps of every run, and --weights of `sgrocc train generation`"
        )
    generation = find_shared(CONFIGS["generation"])
    if ablation.task == "generation" and args.config:
        generation = args.config
    here = machine()

    def options(config: Path) -> Options:
        return Options(
            args.budget, args.seeds, config, tuple(args.data), args.heldout, args.out, args.packed, args.weights,
            args.limit, args.threads,
        )  # fmt: skip

    def report(found: Any, results: Any, facts: dict[str, Any]) -> None:
        facts |= {
            "command": f"`sgrocc ablate {found.name} --budget {args.budget} --seeds {args.seeds}`",
            "machine": f"{here['cpu']}, {here['cores']} cores",
        }
        print("\n".join(map(str, write_report(Findings(found, results), facts, args.results / found.name))))

    weights = args.weights
    if ablation.task == "generation":
        path = find_shared("config/generation/prompts.yaml")
        prompts = [prompt.text for prompt in read_prompts(path)]
        report(ablation, *run_generation(ablation, options(generation), prompts))
        weights = args.out / ablation.name / ablation.variants[0].name / "seed_1" / "imagine.safetensors"
        ablation = load_ablation("imagined")
        args.config = None
    local = args.config or find_shared(CONFIGS["imagined"])
    report(ablation, *run_imagined(ablation, options(local), generation, weights))
    return 0


def _facts(args: argparse.Namespace, runs: Any, results: dict[str, dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """The settings of the comparison, for the report."""
    from sgrocc_core.report import machine

    here = machine()
    seconds = {
        name: [r["training"]["seconds_per_step"] for r in found.values()] for name, found in results.items() if found
    }
    return runs.facts() | {
        "command": f"`sgrocc ablate {args.name} --budget {args.budget} --seeds {args.seeds}`, "
        f"configuration `{args.config}`",
        "seconds a step": ", ".join(f"{name} {sum(values) / len(values):.2f}" for name, values in seconds.items()),
        "machine": f"{here['cpu']}, {here['cores']} cores",
    }

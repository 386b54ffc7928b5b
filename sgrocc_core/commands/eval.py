"""`sgrocc eval`: scores a model on views with known occupancy, beside trivial baselines."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sgrocc_core.share import find_shared

HELP = """Score a model on views with ground truth, in the layout of Occ-ScanNet (`sgrocc synth` writes such sets).

  sgrocc eval local --data DIR --model small --json FILE
      scores every view with the exported model, with predicted and with sensor depth: SC-IoU, mIoU, boundary F1 and
      depth errors, for the whole box, its visible and its hidden part, beside trivial baselines
  sgrocc eval local --data DIR --weights runs/small/expert.weights.safetensors --json FILE
      the same in PyTorch for trained weights that are not exported; --model names their network configuration
  sgrocc eval embodied --data DIR --model small --json FILE
      maps whole scenes frame by frame (layout of EmbodiedOcc-ScanNet: `sgrocc synth --embodied`) and scores the map
      after the last frame, the map over the frames, and the single frames of the same run
  sgrocc eval dynamic --data DIR --model small --depth-source fused --json FILE
      maps changing scenes (`sgrocc synth --dynamic`) and measures how soon removed objects disappear and new ones
      appear, and how much of the static scene is wrongly removed
  sgrocc eval depth --data VIDEOS --model small --json FILE
      depth of videos (`sgrocc synth --video`, or a bag with depth) frame by frame, of the image alone and with what the
      camera's motion tells: AbsRel, share within a factor of 1.25, and how right the spread is
  sgrocc eval prompts --data config/generation/prompts.yaml --json FILE
      makes the room of every sentence of a list (`sgrocc synth --prompt`) and counts the named classes in its voxels
  sgrocc eval objects --limit 12 --frames 30 --model small --json FILE
      maps held-out rooms (made from their seeds; no --data) with a sensor's depth and counts the things that are found
  sgrocc eval statistics --data TRAINING_SET --json FILE
      collects the statistics for the baselines from a training set: classes by height, frequencies, best constant depth

docs/evaluation.md explains every figure."""

STATISTICS = find_shared("config/eval/statistics.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "what",
        choices=("local", "embodied", "dynamic", "depth", "prompts", "objects", "statistics"),
        help="kind of evaluation; see above",
    )
    parser.add_argument("--data", type=Path, help="folder of the set, or list of prompts")
    parser.add_argument("--split", help="train, test or a list file (default: test; train for statistics)")
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--limit", type=int, default=0, help="maximum number of views (scenes), spread evenly (default: all)"
    )
    parser.add_argument(
        "--frames", type=int, default=0, help="embodied, depth: use only the first N frames of a scene (default: all)"
    )
    parser.add_argument(
        "--own-boxes",
        action="store_true",
        help="embodied: the mapper places its boxes as in use, instead of where the set has them",
    )
    parser.add_argument(
        "--depth-source",
        choices=("topic", "fused", "mono"),
        default="fused",
        help="dynamic: as in `sgrocc map` (default: fused)",
    )
    parser.add_argument(
        "--model", default="small", help="name or folder; with --weights, a name under config/models (default: small)"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="score these trained weights (safetensors, both networks) in PyTorch",
    )
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="training configuration of the --weights (default: the model's)"
    )
    parser.add_argument("--engine", default="auto", help="runtime, as of sgrocc map (default: auto)")
    parser.add_argument("--seed", type=int, default=21, help="objects: seed of the held-out rooms (default: 21)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp16, as far as the engine has it")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the engine (default: all)")
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="minimum P(occupied) of an occupied voxel (default: 0.5)"
    )
    parser.add_argument(
        "--train-data", type=Path, help="collect the baselines' statistics from this set (default: stored statistics)"
    )
    parser.add_argument(
        "--no-leak", action="store_true", help="exclude scenes of the training list; see docs/evaluation.md"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the report and print its main figures; exit code 0."""
    from sgrocc_core.data.occ_scannet import OccScanNet
    from sgrocc_core.errors import ConfigError

    if args.limit < 0:
        raise ConfigError(f"--limit is {args.limit}; it must be 0 (all views) or more")
    if not 0 < args.threshold < 1:
        raise ConfigError(f"--threshold is {args.threshold}; it must lie between 0 and 1")
    if args.weights and args.precision != "fp32":
        raise ConfigError(f"--precision {args.precision} is of exported models; --weights are scored in fp32")
    if args.config and not args.weights:
        raise ConfigError("--config needs --weights: an exported model contains its configuration")
    if args.frames < 0:
        raise ConfigError(f"--frames is {args.frames}; it must be 0 (all frames) or more")
    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}; it must be 0 or more")
    if args.what == "objects":
        return _objects(args)
    if args.data is None:
        raise ConfigError(f"`sgrocc eval {args.what}` needs --data, the folder of the set")
    if args.what == "statistics":
        return _statistics(args)
    if args.what == "embodied":
        return _embodied(args)
    if args.what == "dynamic":
        return _dynamic(args)
    if args.what == "depth":
        return _depth(args)
    if args.what == "prompts":
        return _prompts(args)

    from sgrocc_core.evaluation.baselines import collect, load_statistics
    from sgrocc_core.evaluation.local import evaluate_local, table

    model = _model(args)
    split = args.split or "test"
    by_scene = args.no_leak and not args.train_data and _has_embodied_list(args.data)
    data = OccScanNet(args.data, split, _size(model.image_size), no_leak=by_scene)
    trained_on = _training_scenes(args, by_scene)
    left_out = trained_on if args.no_leak else set()
    if args.train_data:
        command = f"sgrocc eval local --train-data {args.train_data}"
        statistics = collect(_views(OccScanNet(args.train_data, "train"), 400, "training set"), command)
    else:
        statistics = load_statistics(STATISTICS)
    chosen = _chosen(data, args.limit, left_out)
    report: dict[str, Any] = evaluate_local(model, _progress(data, chosen, model.name), statistics, args.threshold)
    seen = {data.names[i][0] for i in chosen}
    report["settings"] |= {
        "data": str(args.data), "split": split, "limit": args.limit, "no_leak": args.no_leak,
        "split_by_embodied_test_scenes": by_scene,
        "scenes_also_in_training_list": len(seen & trained_on) if trained_on else None,
    }  # fmt: skip
    _write(args.json, report)
    print(table(report))
    if seen & trained_on:
        print(
            f"{len(seen & trained_on)} of the {len(seen)} scenes are in the training list too; --no-leak excludes them"
        )
    print(f"report: {args.json}")
    return 0


def _write(path: Path, report: dict[str, Any]) -> None:
    import json

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def _embodied(args: argparse.Namespace) -> int:
    from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.evaluation.baselines import load_statistics
    from sgrocc_core.evaluation.embodied import evaluate_embodied, table
    from sgrocc_core.evaluation.local import spread_evenly
    from sgrocc_core.mapping.mapper import MapperConfig
    from sgrocc_core.progress import progress

    if args.weights or args.no_leak or args.train_data:
        raise ConfigError(
            "--weights, --no-leak and --train-data are of `eval local`; export a model to evaluate its maps"
        )
    engine = open_engine(args.model, args.engine, args.device, args.threads, args.precision)
    split = args.split or "test"
    data = EmbodiedScanNet(args.data, split, _size(engine.spec.image_size))
    chosen = spread_evenly(list(range(len(data))), args.limit)
    config = MapperConfig(occupancy_threshold=args.threshold)
    statistics = load_statistics(STATISTICS)
    with progress(None, desc=engine.spec.name, unit="frame") as bar:
        report = evaluate_embodied(engine, data, chosen, statistics, config, args.frames, bar.update, args.own_boxes)
    report["settings"] |= {"data": str(args.data), "split": split, "limit": args.limit, "frames": args.frames}
    _write(args.json, report)
    print(table(report))
    print(f"report: {args.json}")
    return 0


def _dynamic(args: argparse.Namespace) -> int:
    from sgrocc_core.data.dynamic_scenes import DynamicScenes
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.evaluation.dynamic import evaluate_dynamic, table
    from sgrocc_core.evaluation.local import spread_evenly
    from sgrocc_core.mapping.mapper import MapperConfig
    from sgrocc_core.progress import progress

    if args.weights or args.no_leak or args.train_data or args.split or args.frames:
        raise ConfigError(
            "--weights, --no-leak, --train-data, --split and --frames are not of `eval dynamic`; see sgrocc eval --help"
        )
    engine = open_engine(args.model, args.engine, args.device, args.threads, args.precision)
    data = DynamicScenes(args.data, _size(engine.spec.image_size))
    chosen = spread_evenly(list(range(len(data))), args.limit)
    config = MapperConfig(depth_source=args.depth_source, occupancy_threshold=args.threshold)
    with progress(None, desc=engine.spec.name, unit="frame") as bar:
        report = evaluate_dynamic(engine, data, chosen, config, bar.update)
    report["settings"] |= {"data": str(args.data), "limit": args.limit}
    _write(args.json, report)
    print(table(report))
    print(f"report: {args.json}")
    return 0


def _depth(args: argparse.Namespace) -> int:
    from sgrocc_core.data.videos import open_videos
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.evaluation.depth import DepthVariant, evaluate_depth, table
    from sgrocc_core.progress import progress

    if args.weights or args.no_leak or args.train_data:
        raise ConfigError(
            "--weights, --no-leak and --train-data are of `eval local`; export a model to evaluate its depth"
        )
    engine = open_engine(args.model, args.engine, args.device, args.threads, args.precision)
    videos = open_videos(args.data, args.split or "test", _size(engine.spec.image_size), args.limit, args.frames)
    kinds = {"image": "none", "tracks": "tracks", "stereo": "stereo"}
    variants = [DepthVariant(name, kind) for name, kind in kinds.items()]
    report = evaluate_depth(engine, progress(videos, desc=engine.spec.name, unit="video"), variants)
    report["settings"] = {"data": str(args.data), "split": args.split or "test", "limit": args.limit}
    _write(args.json, report)
    print(table(report))
    print(f"report: {args.json}")
    return 0


def _objects(args: argparse.Namespace) -> int:
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.evaluation.objects import evaluate_objects, table
    from sgrocc_core.mapping.mapper import MapperConfig
    from sgrocc_core.progress import progress

    engine = open_engine(args.model, args.engine, args.device, args.threads, args.precision)
    rooms, frames = args.limit or 12, args.frames or 30
    with progress(total=rooms, desc=engine.spec.name, unit="room") as bar:
        config = MapperConfig(occupancy_threshold=args.threshold)
        report = evaluate_objects(engine, rooms, frames, config, args.seed, step=bar.update)
    _write(args.json, report)
    print(table(report))
    print(f"report: {args.json}")
    return 0


def _prompts(args: argparse.Namespace) -> int:
    from sgrocc_core.evaluation.prompts import evaluate_prompts, table

    report = evaluate_prompts(args.data, limit=args.limit)
    report["settings"] = {"data": str(args.data), "limit": args.limit}
    _write(args.json, report)
    print(table(report))
    print(f"report: {args.json}")
    return 0


def _model(args: argparse.Namespace) -> Any:
    """The model to score, as a `LocalModel`."""
    from sgrocc_core.evaluation.models import EngineModel

    if args.weights is None:
        from sgrocc_core.engines.open import open_engine

        return EngineModel(open_engine(args.model, args.engine, args.device, args.threads, args.precision))
    from sgrocc_core.evaluation.models import open_weights
    from sgrocc_core.training.compute import use_threads
    from sgrocc_core.training.config import network_sections

    if args.threads:
        use_threads(args.threads)
    return open_weights(args.weights, *network_sections(args.model, args.config), args.device)


def _size(image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Image size at which views are read: 320 x 240 for small networks; None, the stored size, for larger ones."""
    return (320, 240) if image_size[0] <= 320 else None


def _has_embodied_list(root: Path) -> bool:
    """Whether the set has a list of embodied test scenes, by which `OccScanNet` can split it by scene."""
    from sgrocc_core.data.occ_scannet import embodied_test_scenes
    from sgrocc_core.errors import DataError

    try:
        return bool(embodied_test_scenes(root))
    except DataError:
        return False


def _training_scenes(args: argparse.Namespace, by_scene: bool) -> set[str]:
    """Scenes of the training list of `--train-data`, else of the set's own; empty if there is none."""
    from sgrocc_core.data.occ_scannet import OccScanNet
    from sgrocc_core.errors import ConfigError, DataError

    try:
        return {scene for scene, _ in OccScanNet(args.train_data or args.data, "train", no_leak=by_scene).names}
    except DataError as error:
        if args.train_data:
            raise
        if args.no_leak and not by_scene:
            raise ConfigError(
                f"--no-leak needs a training list; give --train-data, or one beside the set: {error}"
            ) from error
        return set()


def _statistics(args: argparse.Namespace) -> int:
    from sgrocc_core.data.occ_scannet import OccScanNet
    from sgrocc_core.evaluation.baselines import collect

    split = args.split or "train"
    command = f"sgrocc eval statistics --data {args.data} --split {split} --limit {args.limit}"
    statistics = collect(_views(OccScanNet(args.data, split), args.limit, "statistics"), command)
    statistics.save(args.json)
    print(f"{statistics.views} views; best constant depth {statistics.constant_depth:.2f} m; written to {args.json}")
    return 0


def _views(data: Any, limit: int, name: str) -> Iterator[Any]:
    """At most `limit` samples of a set, spread evenly, with a progress bar."""
    return _progress(data, _chosen(data, limit, set()), name)


def _chosen(data: Any, limit: int, left_out: set[str]) -> list[int]:
    """Indices of at most `limit` samples of a set, spread evenly, excluding the scenes `left_out`."""
    from sgrocc_core.evaluation.local import spread_evenly

    return spread_evenly([i for i, (scene, _) in enumerate(data.names) if scene not in left_out], limit)


def _progress(data: Any, indices: list[int], name: str) -> Iterator[Any]:
    from sgrocc_core.progress import progress

    for index in progress(indices, desc=name, unit="view"):
        yield data[index]

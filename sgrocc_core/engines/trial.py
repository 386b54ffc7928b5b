"""Whether a runtime computes what ONNX Runtime computes: one made-up frame, compared output by output.

The result of ONNX Runtime on the CPU is kept (see `cache`), so that a start with another runtime does not wait for it.
"""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sgrocc_core.depth.stereo import Sources
from sgrocc_core.depth.sweep import content_bounds, sweep_transform
from sgrocc_core.engines.cache import cache_folder, key_of, load_or_make
from sgrocc_core.engines.engine import Engine, ImageOutputs
from sgrocc_core.engines.example import ExampleView, example_history, example_views
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.geometry.camera import scale_intrinsics
from sgrocc_core.geometry.poses import gravity_aligned_rotation

TOLERANCE = {"fp32": 1e-3, "fp16": 3e-2, "bf16": 3e-2}
"""Largest difference of a value from that of ONNX Runtime, as a share of the output's largest value, by precision."""
SHARE = 1e-3
"""Share of an output's values that may differ by more: a sample may fall into the neighbouring pixel."""
VERSION = 2
"""Number of the trial; higher when the frame or what is stored of it changes."""

SECOND = ("matching", "matching_fine")
"""What is taken of the second view, which is the source of the first."""

Results = dict[str, np.ndarray]
"""Outputs of a trial as `graph:output`, e.g. `expert.onnx:means`, and SECOND, those of the second view."""


def run_trial(engine: Engine, given: Results | None = None) -> Results:
    """Run each graph of an engine once on the made-up frame.

    Args:
        engine: the engine.
        given: results of another engine, from which the later graphs take their inputs, so that each graph is
            compared by itself; None: from the engine's own earlier graphs, and the second view is run too.
    """
    first, second = example_views(engine.spec)
    seen = _look(engine, first)
    found = {f"image.onnx:{name}": value for name, value in vars(seen).items() if value is not None}
    if given is not None:
        seen = ImageOutputs(**{n: given.get(f"image.onnx:{n}") for n in vars(seen)})  # type: ignore[arg-type]
    gaussians = engine.expert(
        seen.features, first.depth, first.spread, seen.thickness, first.K, first.T_bc, example_history(engine.spec)
    )
    found |= {f"expert.onnx:{name}": value for name, value in vars(gaussians).items()}
    if engine.spec.has_stereo:
        if given is None:
            other = _look(engine, second)
            found |= {name: part for name in SECOND if (part := getattr(other, name)) is not None}
        else:
            found |= {name: given[name] for name in SECOND if name in given}
        sources = example_sources(found["matching"], first, second, engine.spec)
        found |= dict(zip(("stereo.onnx:stereo_depth", "stereo.onnx:stereo_spread"), engine.stereo(seen, sources)))
        if engine.spec.has_cascade:
            sources = replace(sources, fine=found["matching_fine"][None])
            both = engine.stereo(seen, sources)
            found |= dict(zip(("cascade.onnx:cascade_depth", "cascade.onnx:cascade_spread"), both))
    return found


def reference(spec: ModelSpec, threads: int = 0) -> Results:
    """Results of ONNX Runtime on the CPU, kept from start to start.

    Args:
        spec: description of the model.
        threads: number of CPU threads; 0 = all cores.

    Raises:
        ModelError: ONNX Runtime cannot open the model.
    """
    files = [f"{file} {spec.files[file]}" for file in sorted(spec.files)]
    key = key_of(VERSION, _version_of_onnxruntime(), *files)

    def load(content: bytes) -> Results:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def make() -> tuple[Results, bytes]:
        from sgrocc_core.engines.runtimes.onnxruntime_engine import OnnxRuntimeEngine

        results = run_trial(OnnxRuntimeEngine(spec, "cpu", threads))
        content = io.BytesIO()
        np.savez(content, **results)  # type: ignore[arg-type]
        return results, content.getvalue()

    return load_or_make(cache_folder("trial") / f"reference-{key}.npz", load, make)[0]


def disagreements(found: Results, expected: Results | None, precision: str) -> Mapping[str, str]:
    """Say which outputs differ from those of ONNX Runtime by more than the precision allows.

    Args:
        found: results of an engine.
        expected: those of ONNX Runtime; None: only values that are not finite are looked for.
        precision: `fp32`, `fp16` or `bf16`.

    Returns:
        A sentence for each such output, by `graph:output`; empty where the engines agree.
    """
    said = {}
    for name, value in found.items():
        if not np.isfinite(value).all():
            said[name] = f"{name} has values that are not finite"
        elif expected is not None:
            wanted = expected[name]
            difference = np.abs(value - wanted) / max(float(np.abs(wanted).max()), 1e-12)
            off = float((difference > TOLERANCE[precision]).mean())
            if off > SHARE:
                said[name] = (
                    f"{name} differs from ONNX Runtime's by up to {difference.max():.1e} of its largest value, and by "
                    f"more than {TOLERANCE[precision]:g} in {off:.1%} of its values ({SHARE:.1%} may)"
                )
    return said


def _look(engine: Engine, view: ExampleView) -> ImageOutputs:
    return engine.image(view.image, view.mask, view.K, gravity_aligned_rotation(view.T_bc[:3, :3]))


def example_sources(matching: np.ndarray, first: ExampleView, second: ExampleView, spec: ModelSpec) -> Sources:
    """The second view as the one source of the first."""
    stride = spec.grid.head_stride
    K = scale_intrinsics(first.K, 1 / stride, 1 / stride)
    transform = sweep_transform(K, first.T_bc, K, second.T_bc)
    return Sources(matching[None], transform[None], content_bounds(second.mask, stride)[None])


def _version_of_onnxruntime() -> str:
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"

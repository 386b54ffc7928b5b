"""The chain of stages: rooms alone, one command, one weights file with all networks."""

import json
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.cli import main
from sgrocc_core.errors import DataError
from sgrocc_core.network import weights_file
from sgrocc_core.training.chain import Chain, finish, join, video_command
from sgrocc_core.training.data.rolling import make_rolling
from sgrocc_core.training.session import pack_split, packed_folder
from tests.samples.rooms.little_room import write_scene

CONFIG = """
model: small
threads: 1
workers: 0
device: cpu
clip: {views: 3}
stages:
  image: {minutes: 0.05, batch: 1}
  expert: {minutes: 0.05, batch: 1}
  stereo: {minutes: 0.05, batch: 1}
"""


def test_a_folder_of_rendered_rooms_is_read_as_it_is(tmp_path):
    make_rolling(tmp_path, 5)
    write_scene(tmp_path / "room", 1, 2)
    assert packed_folder(tmp_path, "train", None) == tmp_path
    assert pack_split(tmp_path, "train", tmp_path) == 0


def test_the_stereo_network_joins_the_others(tmp_path):
    def write(name, tensors):
        weights_file.save_model(tmp_path / name, {}, {key: torch.full((1,), value) for key, value in tensors.items()})
        return tmp_path / name

    networks = write("networks", {"image.a": 1.0, "expert.b": 2.0, "stereo.c": 3.0})
    stereo = write("stereo", {"image.a": 4.0, "stereo.d": 5.0})
    join(networks, stereo, tmp_path / "all")
    found = {name: float(value) for name, value in weights_file.read_weights(tmp_path / "all").items()}
    assert found == {"image.a": 1.0, "expert.b": 2.0, "stereo.d": 5.0}


def test_a_stage_that_fails_ends_the_chain():
    with pytest.raises(DataError, match="exited with code 3"):
        finish(["python3", "-c", "raise SystemExit(3)"])


def test_videos_are_made_of_the_same_edition_and_furniture_with_a_seed_of_their_own(tmp_path):
    words = video_command(Chain(tmp_path / "c.yaml", tmp_path, "small", assets=tmp_path / "models", seed=7), 3)
    options = dict(pairwise(words[4:]))
    assert (options["--edition"], options["--assets"], options["--seed"]) == ("2", str(tmp_path / "models"), "8")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "needs --like MODEL"),
        (["--like", "small", "--data", "somewhere"], "given are data"),
        (["--like", "small", "--jobs", "1"], "--jobs is 1; it must be from 2 to 256"),
    ],
)
def test_what_a_chain_cannot_use_is_refused(options, told, tmp_path, capsys):
    assert main(["train", "chain", "--out", str(tmp_path), *options]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_makes_all_networks_from_rooms_alone(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    options = ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out"), "--like", "small"]
    assert main(["train", "chain", *options]) == 0
    tensors = weights_file.read_weights(tmp_path / "out" / "model.safetensors")
    assert {name.split(".")[0] for name in tensors} == {"image", "expert", "stereo"}
    spent = json.loads((tmp_path / "out" / "chain.json").read_text())["seconds"]
    assert list(spent) == ["image", "align", "expert", "stereo", "calibrate"]

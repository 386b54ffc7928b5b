"""`sgrocc bench`: figures of a real run, with their units and the machine."""

import json

from sgrocc_core.bench.save import filled_mapper, save_timings
from sgrocc_core.cli import main
from tests.samples.engines import small_engine


def test_the_step_is_timed_back_to_back_and_with_images_arriving(model, walk, tmp_path, capsys):
    report_file = tmp_path / "step.json"
    arguments = [
        "bench",
        "step",
        "--bag",
        str(walk),
        "--model",
        model,
        "--arrival-rate",
        "8",
        "--json",
        str(report_file),
    ]
    assert main(arguments) == 0
    report = json.loads(report_file.read_text())
    stages = report["stages"]
    parts = sum(stages[name]["p50"] for name in ("image", "slice", "expert", "memory", "splat"))
    assert 0.5 * parts < stages["whole_step"]["p50"] < 2 * parts
    assert stages["at_8_hz.arrival_to_update"]["p50"] >= stages["at_8_hz.whole_step"]["p50"]
    assert 1 <= report["figures"]["mapped"]["value"] <= report["figures"]["arrived"]["value"] == 12
    text = capsys.readouterr().out
    assert report["machine"]["cpu"] in text and "p95 ms" in text and "onnxruntime" in text


def test_the_start_is_timed_in_a_new_process(model, tmp_path):
    report_file = tmp_path / "startup.json"
    assert main(["bench", "startup", "--model", model, "--runs", "1", "--json", str(report_file)]) == 0
    stages = json.loads(report_file.read_text())["stages"]
    assert stages["process"]["p50"] > stages["imports"]["p50"] + stages["model"]["p50"] > 0


def test_a_save_is_timed_on_a_map_of_the_wanted_size():
    mapper = filled_mapper(small_engine(), 1000)
    assert len(mapper.map.voxel_map.occupied()[0]) == 1200  # four blocks of 300
    timings = save_timings(mapper, 2)
    assert list(timings) == ["room", "copy", "lists", "write", "write_with_picture"] and all(
        len(t) == 2 for t in timings.values()
    )

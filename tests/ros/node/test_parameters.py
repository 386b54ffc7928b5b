"""The parameter table: values it accepts and refuses, its messages, and its documentation."""

from pathlib import Path

import pytest

from sgrocc_core.errors import ConfigError
from sgrocc_core.mapping.mapper import MapperConfig
from sgrocc_ros.parameters.table import BEGIN, BY_NAME, END, TABLE, documentation, rewritten
from sgrocc_ros.parameters.values import mapper_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_default_is_allowed_and_described(row):
    assert row.check(row.default) == row.default
    assert row.description.endswith(".")


def test_names_are_unique():
    assert len(BY_NAME) == len(TABLE)


def test_an_int_for_a_double_becomes_a_float():
    value = BY_NAME["max_distance"].check(5)
    assert value == 5.0 and type(value) is float


def test_a_number_may_stand_for_a_word():
    row = BY_NAME["floor_height"]
    assert row.check("auto") == "auto" and row.check(-1) == -1.0 and type(row.check(-1)) is float


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("depth_source", "stereo", "parameter depth_source is 'stereo'; it must be mono or topic or fused or cloud"),
        ("max_distance", 50.0, "parameter max_distance is 50.0; it must be a number from 0.5 to 20"),
        ("max_distance", float("nan"), "parameter max_distance is nan; it must be a number from 0.5 to 20"),
        ("threads", 2.0, "parameter threads is 2.0; it must be a whole number from 0 to 256"),
        ("threads", True, "parameter threads is True; it must be a whole number from 0 to 256"),
        ("map_frame", 3, "parameter map_frame is 3; it must be text"),
        ("floor_height", "low", "parameter floor_height is 'low'; it must be auto or a number from -10000 to 10000"),
        ("floor_height", True, "parameter floor_height is True; it must be auto or a number from -10000 to 10000"),
        ("reset_on_time_jump", 1, "parameter reset_on_time_jump is 1; it must be true or false"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(name, value, sentence):
    with pytest.raises(ConfigError) as refusal:
        BY_NAME[name].check(value)
    assert str(refusal.value) == sentence


def test_the_cores_configuration_takes_the_nodes_values():
    values = {row.name: row.default for row in TABLE} | {"depth_source": "topic", "max_distance": 3.0}
    assert mapper_config(values) == MapperConfig(depth_source="topic", max_distance=3.0)


@pytest.mark.parametrize("name", ["occupancy_threshold", "box_below", "max_distance", "max_memory_mb", "forget_radius"])
def test_the_table_allows_what_the_core_allows(name):
    row = BY_NAME[name]
    for bound in (row.minimum, row.maximum):
        MapperConfig(**{name: bound})
    with pytest.raises(ConfigError):
        MapperConfig(**{name: row.maximum + 0.01})
    assert row.default == getattr(MapperConfig(), name)


def test_the_documentation_is_up_to_date():
    text = (ROOT / "docs" / "ros.md").read_text()
    assert rewritten(text) == text, "run: python -m sgrocc_ros.parameters.table docs/ros.md"


def test_the_documented_table_names_every_parameter():
    table = documentation()
    assert all(f"`{row.name}`" in table for row in TABLE)


def test_a_document_without_markers_is_an_error():
    with pytest.raises(ConfigError, match="no section between"):
        rewritten("# nothing")
    assert rewritten(f"a\n{BEGIN}\nold\n{END}\nb").endswith("b")


def test_names_of_cameras_may_be_a_text_or_a_list():
    row = BY_NAME["cameras"]
    assert row.check("front,left") == row.check(["front", "left"]) == "front, left"
    assert row.check("") == row.check([]) == ""


@pytest.mark.parametrize("value", ["front, front", "front,", "front.left", "1st", 3, ["front", 3]])
def test_names_that_cannot_be_cameras_are_refused(value):
    with pytest.raises(ConfigError, match="it must be names of letters, digits and _, each once"):
        BY_NAME["cameras"].check(value)

"""The unpickler of data files: what it reads, and what it refuses without executing any of it."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sgrocc_core.data.plain_pickle import load_plain_pickle
from sgrocc_core.errors import DataError
from tests.samples.recordings.published_layout import array_bytes, dict_bytes

PLAIN = {
    "floats": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 3), np.float32),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "other_end": np.arange(3, dtype=">i2"), "text": np.array(["ab", "c"]), "flags": np.array([True, False]),
    "number": np.array(3),
    "every_second": np.arange(12).reshape(3, 4)[:, ::2], "scalar": np.float64(2.5), "flag": np.bool_(True),
    "list": [1, (2, "x"), None],
    "set": {1, 2}, "bytes": b"abc", "no_bytes": b"", "ordered": OrderedDict(a=1),
    "nested": {"deep": [np.uint8(7), {"x": np.zeros(2)}]},
}  # fmt: skip


def written(folder: Path, content: bytes) -> Path:
    path = folder / "p.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_plain_containers_of_every_protocol_are_read(tmp_path, protocol):
    found = load_plain_pickle(written(tmp_path, pickle.dumps(PLAIN, protocol)))
    np.testing.assert_equal(found, PLAIN)
    for key, value in PLAIN.items():
        if isinstance(value, np.ndarray):
            assert type(found[key]) is np.ndarray and found[key].dtype == value.dtype and found[key].flags.writeable


@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize(
    ("code", "values"), [("f8", [1.5, -2.0]), ("f4", [0.25, 8.0]), ("i8", [-3, 9]), ("u1", [0, 255]), ("b1", [1, 0])]
)
def test_arrays_of_old_and_new_numpy_are_read_from_bytes_put_together_by_hand(tmp_path, core, code, values):
    content = dict_bytes(a=array_bytes(values, code, (2, 1), core))
    assert f"numpy.{core}.multiarray".encode() in content
    found = load_plain_pickle(written(tmp_path, content))["a"]
    assert found.shape == (2, 1) and found.dtype == np.dtype(code) and found.ravel().tolist() == values


@pytest.mark.parametrize("core", ["core", "_core"])
def test_arrays_of_protocol_5_are_read_under_both_of_numpys_names(tmp_path, core):
    text = pickle.dumps({"a": np.arange(4)}, 5)
    old, new = (
        (b"numpy._core.numeric" if b"numpy._core" in text else b"numpy.core.numeric"),
        f"numpy.{core}.numeric".encode(),
    )
    assert old in text
    # a short text is preceded by its length, a frame by its own: read without the frame
    text = text[:2] + text[11:].replace(b"\x8c" + bytes([len(old)]) + old, b"\x8c" + bytes([len(new)]) + new)
    assert load_plain_pickle(written(tmp_path, text))["a"].tolist() == [0, 1, 2, 3]


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


class Stateful:
    """Pickles as an object of a class of the user's, with a state."""

    def __init__(self) -> None:
        self.state = 1


def attacks(mark: Path) -> dict[str, Any]:
    shell = f"touch {mark}"
    return {
        "os.system": Calls(os.system, shell),
        "subprocess": Calls(subprocess.getoutput, shell),
        "eval": Calls(eval, f"open({str(mark)!r}, 'w')"),
        "exec": Calls(exec, f"open({str(mark)!r}, 'w')"),
        "open": Calls(open, str(mark), "w"),
        "import": Calls(builtins.__import__, "os"),
        "getattr": Calls(getattr, "x", "upper"),
        "nested in containers": {"a": [(1, {"b": Calls(os.system, shell)})]},
        "inside an array of objects": np.array([Calls(os.system, shell)], dtype=object),
        "array of objects": np.array([1, "x", None], dtype=object),
        "record with an object": np.zeros(1, dtype=[("a", "f4"), ("b", "O")]),
        "argument of a call": Calls(np.dtype, Calls(os.system, shell)),
        "key of a dict": {Calls(str, "x"): 1},
        "class": Stateful,
        "object of a class": Stateful(),
        "numpy function": Calls(np.load, str(mark)),
        "numpy's own loader": Calls(np.frompyfunc, os.system, 1, 1),
        "memory map": Calls(np.memmap, str(mark), np.uint8, "w+", 0, (4,)),
        "codec": Calls(__import__("codecs").encode, "x", "rot13"),
        "odd codec": Calls(__import__("_codecs").encode, "x", "idna"),
        "operator": Calls(__import__("operator").attrgetter, "x"),
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", sorted(attacks(Path("x"))))
def test_a_hostile_pickle_is_refused_and_nothing_of_it_is_run(tmp_path, name, protocol):
    mark = tmp_path / "owned"
    content = pickle.dumps({"cam_pose": attacks(mark)[name]}, protocol)
    with pytest.raises(DataError, match=r"p\.pkl is refused: it .*only NumPy arrays and plain containers are admitted"):
        load_plain_pickle(written(tmp_path, content))
    assert not mark.exists()


def test_the_attacks_would_work_on_an_ordinary_unpickler(tmp_path):
    for name in ("os.system", "eval", "nested in containers", "inside an array of objects", "memory map"):
        mark = tmp_path / name.replace(" ", "_")
        pickle.loads(pickle.dumps(attacks(mark)[name]))
        assert mark.exists(), name


BY_HAND = {
    "text protocol": b"cos\nsystem\n(S'touch %s'\ntR.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
    "instance": b"(S'touch %s'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'touch %s'\no.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
    "numpy's module of os": b"cnumpy\nos.system\n(S'x'\ntR.",
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_other_ways_to_name_a_function_are_refused(tmp_path, name):
    mark = tmp_path / "owned"
    with pytest.raises(DataError, match="is refused: it asks for"):
        load_plain_pickle(written(tmp_path, BY_HAND[name].replace(b"%s", str(mark).encode())))
    assert not mark.exists()


def test_persistent_names_and_extension_codes_are_not_followed(tmp_path):
    for content in (b"Pname\n.", b"\x80\x02\x82\x01."):
        with pytest.raises(DataError, match="cannot be read"):
            load_plain_pickle(written(tmp_path, content))


def test_an_array_whose_bytes_do_not_fill_its_shape_is_refused(tmp_path):
    content = dict_bytes(a=array_bytes([1.0, 2.0], "f8", (1000, 1000)))
    with pytest.raises(DataError, match=r"shape \(1000, 1000\) and type float64 with 16 bytes"):
        load_plain_pickle(written(tmp_path, content))
    with pytest.raises(DataError, match="shape"):
        load_plain_pickle(written(tmp_path, dict_bytes(a=array_bytes([1.0, 2.0], "f8", (-1, -2)))))


def test_a_pickle_cannot_change_what_the_next_one_gets(tmp_path):
    good = dict_bytes(a=array_bytes([1, 2], "u1", (2,)))
    # BUILD with a state of slots sets attributes of whatever lies on the stack: here of the stand-ins for NumPy's names
    for name in (b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"):
        hostile = b"\x80\x02" + name + b"(N}X\x08\0\0\0__call__K\x01stb."
        with pytest.raises(DataError):
            load_plain_pickle(written(tmp_path, hostile))
        assert load_plain_pickle(written(tmp_path, good))["a"].tolist() == [1, 2]


def test_a_list_that_holds_itself_is_an_error_not_a_hang(tmp_path):
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(DataError, match="cannot be read"):
        load_plain_pickle(written(tmp_path, pickle.dumps({"a": circle})))


def test_what_is_no_dict_or_is_not_there_says_so_and_what_to_do(tmp_path):
    with pytest.raises(DataError, match="holds a list; it must be a dict: unpack it again"):
        load_plain_pickle(written(tmp_path, pickle.dumps([1])), "unpack it again")
    with pytest.raises(DataError, match=r"none\.pkl does not exist: unpack it again"):
        load_plain_pickle(tmp_path / "none.pkl", "unpack it again")

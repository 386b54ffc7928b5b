"""`~/objects` as vision_msgs, which has no wheel: its messages' Python classes are generated, and check every field."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[3] / "support" / "tf2_msgs"
MESSAGES = {
    "ObjectHypothesis": "string class_id\nfloat64 score\n",
    "ObjectHypothesisWithPose": "ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n",
    "BoundingBox3D": "geometry_msgs/Pose center\ngeometry_msgs/Vector3 size\n",
    "Detection3D": "std_msgs/Header header\nObjectHypothesisWithPose[] results\nBoundingBox3D bbox\nstring id\n",
    "Detection3DArray": "std_msgs/Header header\nDetection3D[] detections\n",
}
"""Fields of the messages since vision_msgs 4 (Humble)."""
GENERATE = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import generate
folder, prefix, names = Path(sys.argv[2]), generate.wheels_prefix(), sys.argv[3:]
os.environ["AMENT_PREFIX_PATH"] = str(prefix)
from rosidl_adapter.msg import convert_msg_to_idl
from rosidl_generator_py.cli import GeneratePython
from rosidl_generator_type_description.cli import HashTypeDescription
for name in names:
    convert_msg_to_idl(folder, "vision_msgs", Path(f"msg/{name}.msg"), folder / "msg")
interfaces = [f"{folder}:msg/{name}.idl" for name in names]
paths = [str(prefix / "share" / package) for package in generate.MESSAGE_PACKAGES]
HashTypeDescription("hash").generate_type_hashes("vision_msgs", interfaces, paths, folder)
GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]).generate(
    "vision_msgs", interfaces, paths, folder)
"""
FILL = """
import numpy as np
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray
from sgrocc_core.classes import label_of
from sgrocc_core.voxels.objects import objects_of
from sgrocc_ros.output.objects import detections
voxels = np.argwhere(np.ones((20, 10, 8), bool))
label = np.full(len(voxels), label_of("sofa"), np.uint8)
things = objects_of(voxels, label, np.full(len(voxels), 0.75, np.float32), np.zeros((0, 3), np.int32))
message = detections(things, [7], Header(frame_id="map"))
assert isinstance(message, Detection3DArray) and message.header.frame_id == "map"
(found,) = message.detections
(guess,) = found.results
assert (found.id, found.header.frame_id) == ("7", "map")
assert (guess.hypothesis.class_id, guess.hypothesis.score) == ("sofa", 0.75)
size, centre, place = found.bbox.size, found.bbox.center.position, guess.pose.pose.position
np.testing.assert_allclose((size.x, size.y, size.z), (1.6, 0.8, 0.64))
for point in (centre, place):
    np.testing.assert_allclose((point.x, point.y, point.z), (0.8, 0.4, 0.32))
assert found.bbox.center.orientation.w == 1.0
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vision_msgs") is not None, reason="vision_msgs is installed: nothing to generate")
def test_things_fill_the_fields_of_generated_detections(tmp_path):
    folder = tmp_path / "vision_msgs"
    (folder / "msg").mkdir(parents=True)
    for name, fields in MESSAGES.items():
        (folder / "msg" / f"{name}.msg").write_text(fields)
    subprocess.run([sys.executable, "-c", GENERATE, str(SUPPORT), str(folder), *MESSAGES], check=True, timeout=120)
    (folder / "__init__.py").touch()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")]), str(SUPPORT.parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "ROS_PYTHON_CHECK_FIELDS": "1"}
    done = subprocess.run([sys.executable, "-c", FILL], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

"""Environment of the ROS tests: real DDS restricted to this machine, a domain of its own, checked message fields."""

import os
import tempfile

from tests.ros.domains import own_domain

# Set before the first import of rclpy, which reads its checks on import; DDS reads its settings with the first node.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ.setdefault("ROS_DOMAIN_ID", str(own_domain()))
os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp(prefix="sgrocc_ros_log_"))

import pytest

from sgrocc_ros.distributions import STAY_HERE

os.environ.update([STAY_HERE])


@pytest.fixture(scope="session")
def ros_context():
    """rclpy, started once for the test process."""
    import rclpy

    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def ros_node(ros_context):
    """A bare node of the test process."""
    import rclpy

    node = rclpy.create_node("test_node")
    yield node
    node.destroy_node()

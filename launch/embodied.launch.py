"""Launches the mapping node: `ros2 launch sgrocc_ros embodied.launch.py image:=/camera/color/image_raw`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory("sgrocc_ros"))

# name, default, what it is, type
ARGUMENTS = (
    ("image", "/camera/color/image_raw", "image topic; camera_info is taken from beside it", None),
    ("depth", "/camera/aligned_depth_to_color/image_raw", "depth topic, registered to the image", None),
    ("namespace", "", "namespace of the node, for several cameras or robots", None),
    ("params_file", str(SHARE / "config" / "embodied.yaml"), "parameters; the arguments below go first", None),
    ("fastdds_profile", str(SHARE / "config" / "fastdds.xml"), "Fast DDS profile that lets big best-effort images through", None),
    ("rviz", "false", "whether RViz is started, too", None),
    ("image_transport", "raw", "raw or compressed", str),
    ("depth_source", "mono", "mono (RGB alone), topic (depth camera) or fused (both)", str),
    ("map_frame", "map", "frame of the map; odom with a SLAM system that corrects map -> odom", str),
    ("model", "small", "model name or folder", str),
    ("map_path", "", "folder in which the map is saved", str),
    ("use_sim_time", "false", "whether time comes from /clock", bool),
)


def generate_launch_description() -> LaunchDescription:
    """The node, with the Fast DDS profile, and RViz if it is wanted."""
    declared = [DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text, _ in ARGUMENTS]
    values = {name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, _, _, kind in ARGUMENTS if kind}
    mapper = Node(
        package="sgrocc_ros",
        executable="embodied_occupancy",
        name="embodied_occupancy",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        emulate_tty=True,
        parameters=[LaunchConfiguration("params_file"), values],
        remappings=[("image", LaunchConfiguration("image")), ("depth", LaunchConfiguration("depth"))],
        sigterm_timeout="20",  # the frame in work ends and the map is saved
        sigkill_timeout="20",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "embodied.rviz"), "-f", LaunchConfiguration("map_frame")],
        parameters=[{"use_sim_time": values["use_sim_time"]}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    profile = SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", LaunchConfiguration("fastdds_profile"))
    return LaunchDescription([*declared, profile, mapper, rviz])

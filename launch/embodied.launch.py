"""Launches the mapping node: `ros2 launch sgrocc_ros embodied.launch.py image:=/camera/color/image_raw`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription

SHARE = Path(get_package_share_directory("sgrocc_ros"))

ARGUMENTS = {
    "image": ("/camera/color/image_raw", "image topic; camera_info is taken from beside it"),
    "depth": ("/camera/aligned_depth_to_color/image_raw", "depth topic, registered to the image"),
    "namespace": ("", "namespace of the node, for several cameras or robots"),
    "params_file": (str(SHARE / "config" / "embodied.yaml"), "parameters of the node"),
    "fastdds_profile": (str(SHARE / "config" / "fastdds.xml"), "Fast DDS profile that lets big best-effort images through"),
    "rviz": ("false", "whether RViz is started, too"),
}
PARAMETERS = {
    "image_transport": "raw or compressed",
    "depth_source": "mono (RGB alone), topic (depth camera) or fused (both)",
    "map_frame": "frame of the map; odom with a SLAM system that corrects map -> odom",
    "model": "model name or folder",
    "map_path": "folder in which the map is saved",
    "use_sim_time": "true or false: whether time comes from /clock",
}
"""Parameters that can be given as arguments, too; those that are not given stay as the parameter file says."""


def make_nodes(context: LaunchContext) -> list[Node]:
    """The mapping node and RViz, once the arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    texts = {name: ParameterValue(value, value_type=str) for name, value in given.items() if value and name != "use_sim_time"}
    clock = {"use_sim_time": given["use_sim_time"].lower() == "true"} if given["use_sim_time"] else {}
    mapper = Node(
        package="sgrocc_ros",
        executable="embodied_occupancy",
        name="embodied_occupancy",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        emulate_tty=True,
        parameters=[LaunchConfiguration("params_file"), texts | clock],
        remappings=[("image", LaunchConfiguration("image")), ("depth", LaunchConfiguration("depth"))],
        sigterm_timeout="20",  # after SIGINT the frame in work ends and the map is saved
        sigkill_timeout="20",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "embodied.rviz"), "-f", given["map_frame"] or "map"],
        parameters=[clock],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [mapper, rviz]


def generate_launch_description() -> LaunchDescription:
    """The arguments, the Fast DDS profile and the nodes."""
    declared = [DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in ARGUMENTS.items()]
    declared += [DeclareLaunchArgument(name, default_value="", description=text) for name, text in PARAMETERS.items()]
    profile = SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", LaunchConfiguration("fastdds_profile"))
    return LaunchDescription([*declared, profile, OpaqueFunction(function=make_nodes)])

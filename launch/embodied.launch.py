"""Launches the mapping node and, if requested, a bag and RViz.

`ros2 launch sgrocc_ros embodied.launch.py --show-args` lists the arguments. sgrocc_ros/tools/launching.py checks them
and determines what is started.
"""

import sys
import tempfile
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnShutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from sgrocc_ros import NODE
from sgrocc_ros.tools.launching import ARGUMENTS, Plan, make_plan, refuse_unknown

STOP_TIMEOUT = "20"
"""Maximum time for the node to end after SIGINT, seconds; it finishes the current frame and saves the map."""
LAST_FRAMES = 2.0
"""Time between the end of the bag and the end of the launch with `end_with_bag`, seconds."""


def make_actions(context: LaunchContext) -> list:
    """Make the actions of the launch from its arguments; a wrong argument ends the launch with an error message."""
    if any(Path(argument).name == Path(__file__).name for argument in sys.argv):  # not included in another launch file
        refuse_unknown(sys.argv)
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    plan = make_plan(values, context.launch_configurations.get("ros_namespace", ""))
    actions = [LogInfo(msg=line) for line in plan.lines]
    actions += [SetEnvironmentVariable(name, value) for name, value in plan.environment.items()]
    actions.append(mapper(plan))
    if plan.player:
        actions.append(player(plan))
    if plan.rviz:
        actions += rviz(plan)
    return actions


def mapper(plan: Plan) -> Node:
    """Make the mapping node; when it ends, playing the bag ends, too."""
    texts = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in plan.parameters.items()
    }
    return Node(
        executable=str(plan.executable),
        name=NODE,
        namespace=plan.namespace,
        output="screen",
        emulate_tty=True,
        parameters=[str(plan.params_file), *([texts] if texts else [])],
        remappings=plan.remappings,
        sigterm_timeout=STOP_TIMEOUT,
        sigkill_timeout=STOP_TIMEOUT,
        on_exit=[Shutdown(reason="the mapping node has ended")] if plan.player else None,
    )


def player(plan: Plan) -> ExecuteProcess:
    """Make the process that waits for the node and then plays the bag."""

    def ended(event: ProcessExited, context: LaunchContext) -> list:
        if context.is_shutdown:
            return []
        words = (
            "has been played" if event.returncode == 0 else f"was not played to its end (exit code {event.returncode})"
        )
        if plan.ends_with_bag:
            return [TimerAction(period=LAST_FRAMES, actions=[Shutdown(reason=f"the bag {words}")])]
        return [LogInfo(msg=f"the bag {words}; Ctrl-C ends the node, which then saves its map if map_path is set")]

    return ExecuteProcess(cmd=plan.player, name="bag", output="screen", on_exit=ended)


def rviz(plan: Plan) -> list:
    """Make RViz with a temporary configuration for this launch, which is removed at the end."""
    with tempfile.NamedTemporaryFile("w", prefix="sgrocc_", suffix=".rviz", delete=False) as file:
        file.write(plan.rviz)
    clock = {"use_sim_time": plan.use_sim_time}
    window = Node(package="rviz2", executable="rviz2", output="screen", arguments=["-d", file.name], parameters=[clock])
    clean = OnShutdown(on_shutdown=lambda event, context: Path(file.name).unlink(missing_ok=True))
    return [window, RegisterEventHandler(clean)]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and the actions that follow from them."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_actions)])

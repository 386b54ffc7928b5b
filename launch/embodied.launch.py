"""Launches the mapping node, and with it what is asked for: a bag that is played, RViz.

`ros2 launch sgrocc_ros embodied.launch.py --show-args` lists the arguments; what follows from them is in sgrocc_ros/tools/launching.py.
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
"""Seconds: after SIGINT the frame in work ends and the map is saved."""
LAST_FRAMES = 2.0
"""Seconds between the end of the bag and that of the launch, with `end_with_bag`."""


def make_actions(context: LaunchContext) -> list:
    """What is started, once the arguments are known; an argument that is not allowed ends the launch with a sentence."""
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
    """The mapping node; when it ends, a bag need not be played on."""
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
    """What plays the bag; it waits for the node by itself."""

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
    """RViz with a configuration of this launch, which is removed at the end."""
    with tempfile.NamedTemporaryFile("w", prefix="sgrocc_", suffix=".rviz", delete=False) as file:
        file.write(plan.rviz)
    clock = {"use_sim_time": plan.use_sim_time}
    window = Node(package="rviz2", executable="rviz2", output="screen", arguments=["-d", file.name], parameters=[clock])
    clean = OnShutdown(on_shutdown=lambda event, context: Path(file.name).unlink(missing_ok=True))
    return [window, RegisterEventHandler(clean)]


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what follows from them."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_actions)])

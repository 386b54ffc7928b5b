"""Advice for each cause of a dropped image or a notice; it is appended to warnings and diagnostics."""

from __future__ import annotations

ADVICE = {
    "overtaken": "nothing: images come faster than they are mapped, and the newest is taken",
    "paused": "nothing, or call ~/pause with data: false to go on",
    "no_pose": "check that the frames known connect map_frame to the image's frame (map_frame, camera_frame), "
    "that transforms are stamped by the clock of the images (use_sim_time), and that they arrive within tf_timeout and "
    "as often as the images (max_pose_gap)",
    "bad_pose": "check what publishes that transform: numbers must be finite, quaternions of length 1",
    "bad_transform": "check what publishes that transform: "
    "numbers must be finite, quaternions of length 1, frames named",
    "no_camera_info": "check that the camera publishes camera_info beside the image topic, or remap camera_info",
    "no_depth": "check that depth is published with the images' stamps (sync_slop) and registered to them, "
    "or set depth_source: mono",
    "bad_intrinsics": "calibrate the camera, or correct its camera_info; a K of zeros means that it is not calibrated",
    "size_mismatch": "check that camera_info is that of this image topic, binning and region of interest included",
    "unknown_encoding": "have the camera publish rgb8 or bgr8 (depth: 16UC1 or 32FC1)",
    "truncated_image": "check the camera's driver and the network: the message holds less than it says",
    "bad_image": "check the camera's driver, and image_transport",
    "bad_depth": "check that depth is registered to the image (aligned_depth_to_color), and depth_transport",
    "depth_without_readings": "check the depth camera: it may be covered, too near, or looking at glass, "
    "or its unit another than metres (32FC1) or depth_scale (16UC1)",
    "no_cloud": "check that points are published (remap points), and that their stamps are those of the images' clock "
    "(cloud_slop)",
    "bad_cloud": "check what publishes the points: x, y and z must be float32 or float64",
    "cloud_without_points": "check the sensor: all its points are NaN, 0 or absurdly far",
    "octomap_too_far": "nothing, unless the pose has run away: an octree reaches 2.6 km from the origin",
    "cloud_not_in_view": "check the transform between the sensors' frames, unless they look in different directions",
    "cloud_pose": "check that transforms connect map_frame to the frame of the points, and reach to the last point "
    "in time (tf_timeout)",
    "cloud_stamp": "have the driver set header.stamp of the points",
    "cloud_times": "check the driver: times of points must be seconds or nanoseconds after the stamp or since 1970",
    "stamp_back": "check what stamps the images: two publishers on one topic, or a clock that is being set",
    "stamp_zero": "have the driver set header.stamp to the time of exposure; an image without a time has no pose",
    "stamp_invalid": "check the clock of what stamps the images",
    "depth_stamp": "have the driver set header.stamp of the depth as that of the image",
    "stamp_ahead": "check the clocks of the camera's machine and this one (NTP), and use_sim_time",
    "time_jump": "nothing if a recording was restarted (see reset_on_time_jump); else check the clock",
    "tf_time_jump": "nothing if a recording was restarted; else check that only one source publishes this transform",
    "not_optical_frame": "set camera_frame to the camera's optical frame (often NAME_optical_frame)",
    "unnormalised_quaternion": "check what publishes that transform: quaternions must be of length 1",
    "view_too_large": "lower max_distance, or publish a cropped image of the wide camera",
    "network_not_finite": "fetch or export the model again; with precision fp16 try fp32",
    "pose_jump": "check what publishes the pose; a jump that three images confirm is believed",
    "tf_loop": "check what publishes that transform: a frame cannot be above itself",
    "tf_second_parent": "check what publishes that transform: each frame has one parent",
    "camera_silent": "nothing for the other cameras, which are mapped; check that camera's driver and cable",
    "copy_failed": "check the disk and the permissions of map_path",
    "bad_clock": "check what publishes /clock, or set use_sim_time: false",
    "poses_unused": "check that ~/poses are in map_frame, stamped as the images are, and of base_frame (empty: camera)",
    "rebuild_failed": "call ~/rebuild to try again; the map in use is as before",
    "keyframe_lost": "check the disk and the permissions of map_path",
    "autosave_failed": "check the disk and the permissions of map_path",
    "grid_too_large": "set forget_radius, or leave ~/grid unsubscribed",
    "publish_failed": "check the subscribers: one is too slow for a reliable topic",
    "publish_behind": "close subscribers of ~/markers and ~/grid that are not needed, or lower max_rate",
    "publish_unfinished": "close subscribers of ~/markers and ~/grid that are not needed",
    "internal_error": "report it, with the traceback of the log",
}
"""What to check, by cause."""


def advised(cause: str, message: str) -> str:
    """Append the advice for the cause to a message."""
    return f"{message}; {ADVICE[cause]}" if cause in ADVICE else message

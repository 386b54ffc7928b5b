"""Checks of a recording or a live stream: whether image, intrinsics, depth, poses and stamps agree with each other."""

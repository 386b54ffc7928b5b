"""Stereo from the camera's own motion: matching features, the differentiable plane sweep and the regulariser."""

"""What the depth of each pixel is: the prior, its uncertainty, its correction by the motion of the camera, its layers."""

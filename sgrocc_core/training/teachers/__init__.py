"""Teachers of 2D classes: published segmentation networks, our own class head, and many views of one map."""

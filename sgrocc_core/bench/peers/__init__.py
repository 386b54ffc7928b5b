"""Other mappers on the same depth images, in the same process, frame by frame."""

"""Training of stereo from motion: clips of videos, the loss, the stage, and a look at held-out videos."""

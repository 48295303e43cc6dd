"""The CMU Panoptic Studio's HD recordings, as records."""

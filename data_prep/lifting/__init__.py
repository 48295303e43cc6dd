"""Poses without pictures, for lifters: VideoPose3D's files of Human3.6M."""

"""Synthetic people: articulated bodies, their motions, cameras and pictures."""

"""Joints in videos and pictures that have no labels: reading, following persons, drawing and writing.

`predict.predict` does all of it; `stream.PersonStreams`, `overlay.draw_pose` and `overlay.OverlayWriter` are
its parts for other programs.
"""

"""Joints in videos and pictures that have no labels: reading, following persons, drawing and writing.

`pipeline.predict` does all of it; `pipeline.stream`, `streams.PersonStreams`, `overlay.draw_pose` and
`encoding.OverlayWriter` are its parts for other programs.
"""

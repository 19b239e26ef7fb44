"""Simulated sky and camera, and the injection of artificial reals into images.

In the order in which light meets them: `survey` (what a survey is like), `sky` (what is up there), `optics` (weather,
point-spread function, light of all sources on a chip), `detector` (noise and faults), `exposure` (one frame and its
truth), `visits` (pairs and single frames of a night), `night` and `files` (whole nights on the disk). Beside them
`camera` (chips, coordinates), `header`, `frame`, `truth`, `causes` (why a candidate is there) and `inject`.
"""

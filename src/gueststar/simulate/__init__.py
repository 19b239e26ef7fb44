"""Simulated sky and camera, and the injection of artificial reals into images.

In the order in which light meets them: `survey` (what a survey is like), `sky` (what is up there), `camera` (chips,
vignetting, headers), `conditions` (seeing, sky brightness and pointing of one exposure), `painter`, `galaxies` and
`bright` (light onto pixels), `detector` (noise and faults), `exposure` (one frame), `night` (pairs and whole nights);
and beside them `inject`.
"""

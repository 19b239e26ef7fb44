"""The optics and the air: point-spread function, weather, and the light of all sources on a chip."""

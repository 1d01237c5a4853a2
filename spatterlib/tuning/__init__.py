"""Settings for footage of one's own: frames to annotate, a search of parameters against them, a first proposal."""

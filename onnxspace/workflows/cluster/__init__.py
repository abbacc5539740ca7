"""Work on more than one machine, by Dask: models × images for maps, models × models for affinities."""
